"""Every exception of the package: complete list, pickles, texts."""

from __future__ import annotations

import builtins
import copy
import pickle

import pytest

from distributed import errors
from distributed.errors import DistributedError

EXAMPLES: dict[str, Exception] = {
    error.__class__.__name__: error
    for error in (
        errors.AddressError(5, "no text"),
        errors.AuthenticationError("tcp://h:1", "the server has a different key"),
        errors.BadRequestError("bad"),
        errors.CalledByImportError("m/f"),
        errors.CancelledError("cancelled"),
        errors.CertificateError("/k.tls", "there is none"),
        errors.CommClosedError("tcp://h:1", "reset"),
        errors.ConfigError("memory", "x", "write a size"),
        errors.ConnectTimeoutError("tcp://h:1", 3, "no answer"),
        errors.CoordinationLimitError("queue 'q'", "full"),
        errors.CredentialError("/g/alice", "it holds no credential"),
        errors.DataGoneError("k", "it was deleted"),
        errors.NotHeldError("lock 'x'", "it was never acquired"),
        errors.RemoteExecutionError(errors.RemoteError("m.E", "text", "tb"), "main@m/f"),
        errors.SetupError("too late"),
        errors.UndistributableError("m.A", "it is a class"),
        errors.RequestLostError("tcp://s:1", "was started anew", "lock 'x'"),
        errors.EnvironmentBuildError("numpy", "pip ended with exit code 1", ["ERROR: no such package"]),
        errors.EquipmentError("a.py", {}),
        errors.UserCodeRefusedError("the scheduler"),
        DistributedError("root"),
        errors.DistributedWarning("careful"),
        errors.ExecutorBrokenError("its initializer raised"),
        errors.ExecutorClosedError("closed"),
        errors.FunctionLoadError("f", "tcp://w:1", "No module named 'x'"),
        errors.GrantError("alice", "there is none of that name"),
        errors.HomeError("a/b", "it vanished"),
        errors.NestedCallError("f"),
        errors.NoMoreFiles(),
        errors.WaitForTimeoutFile(True),
        errors.MasterError("http://127.0.0.1:8000", "it answered 403"),
        errors.InvariantError("rule"),
        errors.KeyFileError("/k", "mode"),
        errors.KeyTakenError("k", "127.0.0.1:8787"),
        errors.KilledWorker("k", 3, [{"cause": "signal 9"}]),
        errors.ActorLostError("k", "tcp://127.0.0.1:1", "its worker died"),
        errors.ActorWaitsError("k"),
        errors.LeaseOverError("tcp://o:1"),
        errors.LostDataError("k"),
        errors.UnreachableDataError("k", ["a", "b"], 10),
        errors.UnreachableError("http://h:1", "refused"),
        errors.TaskTimeoutError("k", 1.5),
        errors.MemoryLimitExceeded("k", 10**8, 2 * 10**8),
        errors.MessageLoadError(3, "ImportError: no module named 'x'"),
        errors.MessageTooLargeError("message", 5, 4, "message_nbytes_max"),
        errors.ModuleFailedError("main", "KeyError: 'HOME'", "the room on h"),
        errors.ModuleMissingError("main", "numpy", "the room on h"),
        errors.MultipartError("it ends before its last boundary"),
        errors.NameMissingError("main", "f"),
        errors.NameTakenError("alice", "tcp://w:1"),
        errors.OfferFullError("tcp://o:1", "32 tenants", "wait"),
        errors.OfferWithdrawnError("tcp://o:1"),
        errors.PeerBusyError("tcp://w:1"),
        errors.PermissionDeniedError("add", "readonly"),
        errors.PortTakenError("127.0.0.1", 80, "in use"),
        errors.ProtocolError("garbage"),
        errors.PythonMismatchError("main.<lambda>", "3.11", "3.13"),
        errors.RequirementsError("requirements.txt", 3, "-e .", "an editable package"),
        errors.RemoteCommandError("alice", "dworker", "it ended with exit code 1", "port taken"),
        errors.StartedByImportError("primes:Worker"),
        errors.RemoteError("m.E", "text", "tb"),
        errors.SchedulerFileError("/f", "stale"),
        errors.SelfWaitError("k"),
        errors.SessionLostError("tcp://s:1", "was started anew", "k"),
        errors.StreamingOpError("stream"),
        errors.UncopiedDataError("replicate", {"k": "its data is gone"}),
        errors.UnencodableError("set", "wrap it"),
        errors.UnknownWorkerError(7, 2),
        errors.UnknownOpError("sub", ["add"]),
        errors.UnpicklableError("a result", "lock", "no"),
        errors.UnrunnableTaskWarning(["b", "c"], 2, "a", "may only run on w7"),
        errors.WorkerStartError("stderr"),
        errors.WorkersLateError(3, "h:1 cannot be reached yet"),
        errors.BlobMismatchError("ab" * 32, "3 bytes came instead of 4"),
        errors.BlobMissingError("ab" * 32, "/store", "src/a.py"),
        errors.LayOutError("src/a.py", "its name is too long"),
        errors.QuotaExceededError("files", 2, 1, "exclude some"),
        errors.ShippingTimeoutError("workspace_offer", 60.0),
        errors.StoreFolderError("/store", "it belongs to user id 7"),
        errors.StoreFullError("/store", 2, 1, "free some"),
        errors.UnknownWorkspaceError("cd" * 32),
        errors.NoOfferError("tcp://s:1", 2),
        errors.NoMatchError("f", "8 threads", "o: 2 threads"),
        errors.LoosenedCallWarning("f asks for 8 threads"),
        errors.RedistributionError("f", "it is 16 levels deep"),
        errors.ManifestError("../x", "a path is relative"),
        errors.UnsupportedOperation("/a", "it is no folder"),
        errors.WorkspaceChangedError("a.py", "/project"),
        errors.WorkspaceEntryError("/elsewhere/a.py", "/project", "it lies outside"),
        errors.WorkspaceError("root of workspaces"),
        errors.WorkspaceFileError("a.py", "/project", "it cannot be read", "chmod it"),
        errors.WorkspaceTooLargeError("/project", "2 GiB", "512 MiB", [("data/", "1.9 GiB")]),
        errors.WorkspaceWarning("it is big"),
    )
}


def test_every_error_is_listed_here_and_public() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert defined == set(errors.__all__) == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("protocol", [2, 5])
def test_an_error_survives_a_pickle_with_its_attributes(name: str, protocol: int) -> None:
    error = EXAMPLES[name]
    for back in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)):
        assert type(back) is type(error)
        assert str(back) == str(error)
        assert back.args == error.args
        assert vars(back) == vars(error)


def test_notes_survive_too() -> None:
    error = errors.LostDataError("k")
    error.add_note("seen by alice")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["seen by alice"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_error_says_whose_fault_it_is_in_its_documentation(name: str) -> None:
    assert (type(EXAMPLES[name]).__doc__ or "").strip()


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_error_of_ours_is_caught_by_its_root(name: str) -> None:
    outside = {"CancelledError", "DistributedWarning", "LoosenedCallWarning"}
    outside |= {"UnrunnableTaskWarning", "WorkspaceWarning"}
    assert isinstance(EXAMPLES[name], DistributedError) is (name not in outside)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("CommClosedError", OSError),
        ("PortTakenError", OSError),
        ("ConnectTimeoutError", TimeoutError),
        ("ConfigError", ValueError),
        ("AddressError", ValueError),
        ("NameTakenError", ValueError),
        ("UnencodableError", TypeError),
        ("UnpicklableError", TypeError),
        ("BadRequestError", TypeError),
        ("UnknownOpError", TypeError),
        ("MessageTooLargeError", errors.ProtocolError),
    ],
)
def test_errors_are_also_what_the_standard_library_would_raise(name: str, builtin: type) -> None:
    assert isinstance(EXAMPLES[name], builtin)


def test_no_name_hides_a_builtin() -> None:
    assert not set(errors.__all__) & set(dir(builtins))


def test_texts_name_the_data() -> None:
    assert "Timed out while connecting to tcp://h:1 after 3 s: no answer" in str(EXAMPLES["ConnectTimeoutError"])
    assert str(EXAMPLES["KilledWorker"]).endswith("the last one of: signal 9")
    assert str(errors.KilledWorker("k", 3, [])).endswith("the connection was lost")
    assert str(EXAMPLES["MessageTooLargeError"]) == (
        "message: 5 is over the limit of 4; send less at once, or raise message_nbytes_max"
    )
