"""How a cluster shows itself in a notebook."""

from __future__ import annotations

from distributed.deploy.local import LocalCluster


def test_a_cluster_shows_itself_with_its_name_escaped() -> None:
    cluster = LocalCluster(n_workers=1, asynchronous=True, name="<b>mine")
    shown = cluster._repr_html_()
    assert "LocalCluster &lt;b&gt;mine" in shown and "created" in shown and "<b>mine" not in shown
