"""Faces: other ways to see a cluster than `Client`, each as thin as its history allows."""
