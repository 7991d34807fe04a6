"""What is kept on disk between processes: compiled code, and what was decided or measured.

In come bytes with a name derived from everything they depend on; out come paths that are safe to
load: written by this user, whole, and found again by the same name. An entry is replaced only
where it is damaged.
"""
