"""The wheel installed as a user does, alone and with each extra, in environments of their own."""
