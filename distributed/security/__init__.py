"""Who may talk to whom: keys, the handshake that proves them, and what each role may ask for."""
