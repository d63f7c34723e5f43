"""HTTP as all our servers speak it: who is let in, where they listen, how they are reached. Tornado does the rest."""
