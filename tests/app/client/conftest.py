"""What the client's tests share."""

NOBODY = "del_019a0c5e7d6b7f3a9c1e2b4d6f8a0b1c"  # the id of no deletion
