"""The push recipe: a serving master sends files to workers as they have room; they report when they are done."""
