"""Reading a folder in C; see look.py for what is answered."""

def look(
    descriptor: int, most: int, /
) -> tuple[int, bytes, bytes, bytes, int, int, bytes, int, int, list[tuple[bytes, int, int]], int, int]: ...
