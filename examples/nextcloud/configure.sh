#!/bin/sh
# Have hashscan check uploads to Nextcloud, by its app files_antivirus. Run it as the web server's user, in
# Nextcloud's folder; OCC may name another way to call occ. The web server's user must be in the group of the
# socket of `hashscan serve --clamd unix:/run/hashscan/clamd.sock`.
set -eu

occ=${OCC:-php occ}
# Bytes of the largest upload; the limit of `hashscan serve` (--max-upload) must be as large.
limit=${LIMIT:-104857600}

set_value() { $occ config:app:set files_antivirus "$1" --value="$2"; }

$occ app:enable files_antivirus
set_value av_mode socket
set_value av_socket "${SOCKET:-/run/hashscan/clamd.sock}"
# By default, Nextcloud begins another stream after 26,214,400 bytes, which repeats the last chunk. Each is then
# checked as a file of its own, and no picture or archive that is cut in two is recognized. The lengths of all
# chunks count, too: 4 bytes for each chunk of 8,192 or more.
set_value av_stream_max_length "$((limit + limit / 1024))"
# Send files of every size, and all of each file.
set_value av_max_file_size -1
set_value av_scan_first_bytes -1
# Store nothing that hashscan could not be asked about, or that it answered with an error.
set_value av_block_unreachable 1
set_value av_block_unscannable 1
# What is found among stored files is logged, not deleted: it may be needed as evidence.
set_value av_infected_action only_log
