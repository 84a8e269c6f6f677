"""What sweeps remember, so that the next one reads only what has changed.

All lies in `STATE/sweep`, for the sweeping user alone. Its one writer is the sweep that holds STATE's lock.

state.sqlite   SQLite (WAL), what is looked up by key; see `database` for its tables
sha256         columns: rows of one width, appended and never changed, one row for each content:
md5, sha1        digests of the bytes
about            which profile it was digested by, flags, format, since when, where `further` begins, checksum
pdq            one row for each picture that has one: the digest of the picture as it is stored
pictures       beside it: which content it is of
further        one record for each content that is a picture or has further digests; see `packing`

A content is what was read of one file or of several equal ones: the digests of its bytes, and what a decoder
said of it. Two decoders that say different things of the same bytes make two contents, so that no owner's
picture can speak for another owner's file. Contents are numbered from 0, by their row.

A folder's files stand in one blob, in the order in which they were listed (see `listings`): inode, size,
times, name and number of the content. `places` leads from a content to the folders that have or had it.

How many rows of a column count is a row of the database, written in the same transaction as what refers to
them; what a killed sweep appended beyond is cut off. Digests are kept, verdicts are derived: `hits` names the
contents that came near to an entry of a list, and `matched` up to which row they were compared with it.
"""
