"""Keep the state of scans: cached digests, findings and folder listings, so that only changes are read.

Everything is in `STATE/scans`, readable by the scanning user alone. The only writer is the scan that holds
the lock of STATE.

state.sqlite   SQLite (WAL), for lookups by key; see `store.database` for its tables
sha256         columns: rows of one width, appended and never changed, one row for each content:
md5, sha1        digests of the bytes
about            its profile, flags, format, time of the first read, offset in `further`, checksum
pdq            one row for each picture that has one: the digest of the picture as it is stored
pictures       parallel to it: the content of that picture
further        one record for each content that is a picture or has further digests; see `store.packing`

A content is the result of reading one file or several equal ones: the digests of the bytes, and the
decoder's reply. Two decoders that reply differently for the same bytes make two contents, so that no owner's
picture can influence the result of another owner's file. Contents are numbered from 0, by their row.

What is in an opened container is stored as one record for its content (`members`; see `store.members`).

A folder's files are stored in one blob, in the order in which they were listed (see `store.listings`):
inode, size, times, name and number of the content. `places` leads from a content to the folders that have or
had it.

The number of valid rows of a column is a row of the database, written in the same transaction as the
references to them; rows that a killed scan appended beyond it are cut off. Digests are kept, verdicts are
derived: `hits` names the contents that came near to an entry of a list, and `matched` the row up to which
contents were compared with it.
"""
