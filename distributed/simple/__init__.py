"""The simple push recipe: a master sends files to worker servers, which answer with digests; then it ends."""
