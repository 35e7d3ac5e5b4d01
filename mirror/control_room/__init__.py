"""What the Control Room keeps (`web/control_room/`): who is signed in, what is in line, what was done."""
