"""The local pages about cases: lists, one case, and forms to review, assign, note and acknowledge."""
