"""Sections of the list of commands, and the examples and exit codes that each command's help shows."""

from __future__ import annotations

from collections.abc import Mapping

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Find": ("scan", "check", "serve", "lookup", "hash"),
    "Hash lists": ("lists", "publish"),
    "What was found": ("report", "quarantine", "cases", "stats", "care", "customers", "alerts"),
    "Many servers": ("hub",),
    "This machine": (
        "setup",
        "config",
        "state",
        "keys",
        "worker",
        "selftest",
        "schema",
        "completion",
        "manual",
    ),
}
"""Commands by the headings of the help, in their order."""

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "scan": (
        "hashscan scan /var/www",
        "hashscan scan /home --exclude '*.log' --report /var/lib/hashscan/found.html",
        "hashscan scan s3://uploads/2026 --list national",
    ),
    "check": (
        "hashscan check photo.jpg",
        "hashscan check sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "hashscan check uploads/*.jpg --format json",
    ),
    "serve": (
        "hashscan serve --clamd unix:/run/hashscan/clamd.sock",
        "hashscan serve --icap tcp:127.0.0.1:1344 --http unix:/run/hashscan/http.sock",
    ),
    "lookup": ("hashscan lookup photo.jpg", "hashscan lookup --distance 20 photo.jpg --format json"),
    "hash": (
        "hashscan hash photo.jpg",
        "hashscan hash photo.jpg --algorithm sha256 --format text",
        "hashscan hash --explain photo.jpg",
    ),
    "hub init": ("hashscan hub init", "hashscan hub init --database postgresql://hub@db.example.net/hub"),
    "hub serve": (
        "hashscan hub serve --list national",
        "hashscan hub serve --listen tcp:0.0.0.0:443 --allow-network 0.0.0.0/0 --tls-cert hub.pem "
        "--tls-key hub.key",
        "hashscan hub serve --public-url https://hub.example.net --trusted-proxy 127.0.0.1",
    ),
    "hub server list": ("hashscan hub server list", "hashscan hub server list example-hosting --format json"),
    "hub server set": (
        "hashscan hub server set example-hosting web1 --silent-after 8d",
        "hashscan hub server set example-hosting web1 --silent-after 0s",
    ),
    "hub server defaults": (
        "hashscan hub server defaults --silent-after 2d --deadline 24h",
        "hashscan hub server defaults --silent-after 36h",
    ),
    "hub alerts": (
        "hashscan hub alerts",
        "hashscan hub alerts --syslog",
    ),
    "hub user add": (
        "hashscan hub user add alice --role operator",
        "hashscan hub user add bob@example.net --role member --organisation example-hosting",
    ),
    "hub user list": ("hashscan hub user list", "hashscan hub user list --format json"),
    "hub user disable": ("hashscan hub user disable bob", "hashscan hub user disable bob --enable"),
    "hub user reset": (
        "hashscan hub user reset bob",
        "hashscan hub user reset alice --database postgresql://hub@db.example.net/hub",
    ),
    "hub org add": (
        "hashscan hub org add example-hosting --title 'Example Hosting B.V.' --country NL",
        "hashscan hub org add example-hosting --contact abuse@example.net --as 64496",
    ),
    "hub org change": (
        "hashscan hub org change example-hosting --contact abuse@example.net --via mail",
        "hashscan hub org change example-hosting --network 192.0.2.0/24 --network 2001:db8::/32",
    ),
    "hub outbox list": ("hashscan hub outbox list", "hashscan hub outbox list --format json"),
    "hub outbox send": (
        "hashscan hub outbox send",
        "hashscan hub outbox send --retry",
    ),
    "hub org list": ("hashscan hub org list", "hashscan hub org list --format json"),
    "hub org close": ("hashscan hub org close example-hosting", "hashscan hub org close example --reopen"),
    "hub org delete": (
        "hashscan hub org delete example-hosting --yes",
        "hashscan hub org delete example-hosting --yes --database postgresql://hub@db.example.net/hub",
    ),
    "hub key add": (
        "hashscan hub key add example-hosting web >web.key",
        "hashscan hub key add example-hosting web --right check --detail category --until 2099-01-31",
    ),
    "hub key list": ("hashscan hub key list", "hashscan hub key list example-hosting --format json"),
    "hub key rotate": (
        "hashscan hub key rotate example-hosting web --overlap 14d >web.key",
        "hashscan hub key rotate example-hosting web --overlap 0s >web.key",
    ),
    "hub key revoke": (
        "hashscan hub key revoke example-hosting web",
        "hashscan hub key revoke example-hosting web mail",
    ),
    "hub prune": (
        "hashscan hub prune --older-than 730d",
        "hashscan hub prune --older-than 90d",
    ),
    "hub export": (
        "hashscan hub export example-hosting >example-hosting.jsonl",
        "hashscan hub export example-hosting --database postgresql://hub@db.example.net/hub >all.jsonl",
    ),
    "hub stats prepare": (
        "hashscan hub stats prepare --month 2026-10 --answer-time 14d",
        "hashscan hub stats prepare --month 2026-01 --until-month 2026-12",
    ),
    "hub stats answer": (
        "hashscan hub stats answer 1 example-hosting --text 'We had no staff on call.'",
        "hashscan hub stats answer 1 example-hosting --text 'The server was sold in May.'",
    ),
    "hub stats release": (
        "hashscan hub stats release 1",
        "hashscan hub stats release 2",
    ),
    "hub stats show": ("hashscan hub stats show", "hashscan hub stats show 1 --format html --output 1.html"),
    "hub stats withdraw": (
        "hashscan hub stats withdraw 1",
        "hashscan hub stats withdraw 2",
    ),
    "hub notice send": (
        "hashscan hub notice send example-hosting --url https://alice.example/a.jpg --category A1 "
        "--deadline 24h --reference P-2026-17",
        "hashscan hub notice send example-hosting --path /srv/www/a.jpg --host web1 --category A1",
    ),
    "hub notice list": (
        "hashscan hub notice list",
        "hashscan hub notice list example-hosting --format json",
    ),
    "hub notice withdraw": (
        "hashscan hub notice withdraw P-2026-17",
        "hashscan hub notice withdraw P-2026-18",
    ),
    "hub notice mark": (
        "hashscan hub notice mark P-2026-17 removed --how 'mail of 3 October'",
        "hashscan hub notice mark P-2026-17 acknowledged",
    ),
    "hub notice observe": (
        "hashscan hub notice observe P-2026-17 gone",
        "hashscan hub notice observe P-2026-17 there --at 2026-10-03T12:00:00Z --by monitor",
    ),
    "hub audit list": ("hashscan hub audit list", "hashscan hub audit list --format json"),
    "hub audit verify": (
        "hashscan hub audit verify",
        "hashscan hub audit verify --head "
        "12:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ),
    "lists accept": ("hashscan lists accept national", "hashscan lists accept ncmec"),
    "lists activate": ("hashscan lists activate national", "hashscan lists activate national --discard"),
    "lists add": (
        "hashscan lists add national https://lists.example.org/national --root root.json",
        "hashscan lists add ncmec --exchange ncmec --credentials ncmec.toml",
    ),
    "lists diff": ("hashscan lists diff national", "hashscan lists diff national --would-hit"),
    "lists except": (
        "hashscan lists except",
        "hashscan lists except n-1234 --reason 'company logo' --until 2099-01-31",
        "hashscan lists except n-1234 --remove",
    ),
    "lists export": (
        "hashscan lists export national --output national.csv",
        "hashscan lists export national --format ndjson",
    ),
    "lists feedback": (
        "hashscan lists feedback n-1234 --wrong --reason 'company logo'",
        "hashscan lists feedback --list national --output feedback.json",
    ),
    "lists import": (
        "hashscan lists import hashes.csv --name ours",
        "hashscan lists import md5.txt --name police --category A1",
    ),
    "lists pull": ("hashscan lists pull", "hashscan lists pull national --stage"),
    "lists remove": ("hashscan lists remove national", "hashscan lists remove ours"),
    "lists status": ("hashscan lists status", "hashscan lists status national --format json"),
    "lists verify": ("hashscan lists verify", "hashscan lists verify national"),
    "publish add": (
        "hashscan publish add hashes.csv --work national",
        "hashscan publish add md5.txt --work national --category A1",
    ),
    "publish compact": (
        "hashscan publish compact --work national",
        "hashscan publish compact --work national --passphrase-file passphrase",
    ),
    "publish feedback": (
        "hashscan publish feedback feedback.json --work national",
        "hashscan publish feedback *.json --work national",
    ),
    "publish filter": (
        "hashscan publish filter --work filter --list national",
        "hashscan publish filter --work filter --list national --list local --new-base",
    ),
    "publish hash": (
        "hashscan publish hash pictures --category A1 --output hashes.csv",
        "hashscan publish hash pictures --category A1 --augment none --output hashes.csv",
    ),
    "publish init": (
        "hashscan publish init national --work national --repository /srv/lists/national",
        "hashscan publish init national --work national --repository out --root-keys /media/a/keys "
        "--root-keys /media/b/keys --root-threshold 2",
    ),
    "publish refresh": (
        "hashscan publish refresh --work national",
        "hashscan publish refresh --work national --all",
    ),
    "publish release": (
        "hashscan publish release --work national",
        "hashscan publish release --work national --passphrase-file passphrase",
    ),
    "publish rotate": (
        "hashscan publish rotate timestamp --work national",
        "hashscan publish rotate --work national --root-keys /media/a/keys",
    ),
    "publish status": (
        "hashscan publish status --work national",
        "hashscan publish status --work /srv/national",
    ),
    "publish withdraw": (
        "hashscan publish withdraw n-1234 --work national",
        "hashscan publish withdraw --from ids.txt --work national",
    ),
    "report accept": (
        "hashscan report accept found.jsonl --reason 'test files' --until 2099-01-31 --output accepted.json",
        "hashscan report accept found.jsonl --entry n-1234 --reason logo --until 2099-01-31 "
        "--output accepted.json",
    ),
    "report convert": (
        "hashscan report convert found.jsonl --output found.html",
        "hashscan report convert found.jsonl --format csv",
    ),
    "report merge": (
        "hashscan report merge shard-*.jsonl --output found.jsonl",
        "hashscan report merge 1.jsonl 2.jsonl --output -",
    ),
    "report prune": ("hashscan report prune --keep 90d --dry-run", "hashscan report prune --keep 90d"),
    "report push": (
        "hashscan report push --hub https://hub.example.net --key-file /etc/hashscan/hub.key",
        "hashscan report push /var/lib/hashscan/reports/*.jsonl",
    ),
    "report show": ("hashscan report show", "hashscan report show found.jsonl --limit 0"),
    "quarantine add": (
        "hashscan quarantine add found.jsonl --retain-min 90d --destroy-by 365d --dry-run",
        "hashscan quarantine add /var/www/a.jpg --reason notice --retain-min 90d --destroy-by 365d",
    ),
    "quarantine destroy": (
        "hashscan quarantine destroy",
        "hashscan quarantine destroy ITEM --override --reason 'order of a court'",
    ),
    "quarantine export": (
        "hashscan quarantine export --all --recipient age1... --output evidence.age",
        "hashscan quarantine export ITEM --recipient age1... --output evidence.age",
    ),
    "quarantine list": (
        "hashscan quarantine list",
        "hashscan quarantine list --older-than 90d --format json",
    ),
    "quarantine restore": (
        "hashscan quarantine restore ITEM",
        "hashscan quarantine restore --withdrawn",
    ),
    "quarantine verify": ("hashscan quarantine verify", "hashscan quarantine verify --repair"),
    "cases draft": (
        "hashscan cases draft 12 --kind acknowledgement",
        "hashscan cases draft --notice 3 --kind outcome",
    ),
    "cases withhold": (
        "hashscan cases withhold 12 --until 2027-01-31 --reason 'order 26-114 of the police'",
        "hashscan cases withhold 12 --lift --reason 'the police permit it'",
    ),
    "cases report-authority": (
        "hashscan cases report-authority 12 --to 'the police, by telephone'",
        "hashscan cases report-authority 12 13 --to 'the police, ticket 4711'",
    ),
    "cases acknowledge": (
        "hashscan cases acknowledge 12",
        "hashscan cases acknowledge 12 13 --recipient 'the authority by mail'",
    ),
    "cases add": (
        "hashscan cases add https://example.net/a.jpg --sender 'A hotline' --reference R-1",
        "hashscan cases add /srv/a.jpg --kind order --sender 'An authority' --member-state NL --within 6",
    ),
    "cases assign": (
        "hashscan cases assign 12 --to ada --note 'the customer has been called'",
        "hashscan cases assign 12 13 --note 'waits for the prosecutor'",
    ),
    "cases check": ("hashscan cases check", "hashscan cases check 12 13", "hashscan cases check --web"),
    "cases close": (
        "hashscan cases close 12 --reason 'not illegal'",
        "hashscan cases close 12 13 --reason 'customer left'",
    ),
    "cases confirm": (
        "hashscan cases confirm 12 --reason 'seen by the abuse desk'",
        "hashscan cases confirm 12 --take-back",
    ),
    "cases dispute": (
        "hashscan cases dispute 12 --reason 'customer objects'",
        "hashscan cases dispute 12 13 --reason 'under review'",
    ),
    "cases due": ("hashscan cases due", "hashscan cases due --within 6h --format json"),
    "cases fetch": ("hashscan cases fetch", "hashscan cases fetch --state /var/lib/hashscan"),
    "cases form": (
        "hashscan cases form",
        "hashscan cases form --listen unix:/run/hashscan/form.sock --public-url https://report.example.org",
    ),
    "cases import": (
        "hashscan cases import notices.csv",
        "hashscan cases import notice.json --customers home",
    ),
    "cases letter": (
        "hashscan cases letter --customer alice",
        "hashscan cases letter 12 13 --language de --with-paths",
        "hashscan cases letter --customer alice --to alice@example.net",
    ),
    "cases list": (
        "hashscan cases list",
        "hashscan cases list --status overdue",
        "hashscan cases list --status all --output cases.csv",
    ),
    "cases mails": ("hashscan cases mails", "hashscan cases mails 3 4 --done"),
    "cases prune": ("hashscan cases prune --older-than 365d", "hashscan cases prune --older-than 730d"),
    "cases queue": ("hashscan cases queue", "hashscan cases queue --who ada --format json"),
    "cases reopen": (
        "hashscan cases reopen 12 --reason 'uploaded again'",
        "hashscan cases reopen 12 13 --reason mistake",
    ),
    "cases review": (
        "hashscan cases review 12 --decision confirmed --reason 'seen by the police'",
        "hashscan cases review 12 13 --decision wrong --reason 'an advertisement' --who ada",
    ),
    "cases serve": ("hashscan cases serve", "hashscan cases serve --listen unix:/run/hashscan/cases.sock"),
    "cases show": ("hashscan cases show 12", "hashscan cases show 12 13 --format json"),
    "cases sync": (
        "hashscan cases sync",
        "hashscan cases sync --hub https://hub.example.org/ --key-file /etc/hashscan/hub-key",
    ),
    "cases tell": (
        "hashscan cases tell 12 --recipient customer",
        "hashscan cases tell 12 13 --recipient police",
    ),
    "cases times": ("hashscan cases times", "hashscan cases times --output times.csv"),
    "care make": (
        "hashscan care make --from 2026-10 --to 2026-12 --output care.json --page care.html",
        "hashscan care make --from 2026 --to 2026 --output care.json --label '/var/www=shared hosting'",
    ),
    "care verify": (
        "hashscan care verify care.json",
        "hashscan care verify care.json --tsa-ca tsa.pem --format json",
    ),
    "stats": (
        "hashscan stats",
        "hashscan stats --by week --since 2026-01 --output statistics.html",
        "hashscan stats --format dsa --year 2026 --service 'Example Hosting' --output transparency-2026",
    ),
    "customers": (
        "hashscan customers /var/www/clients/client1/a.jpg --customers ispconfig",
        "hashscan customers https://www.example.org/a.jpg --format json",
    ),
    "alerts digest": ("hashscan alerts digest --dry-run", "hashscan alerts digest"),
    "alerts drop": ("hashscan alerts drop 7", "hashscan alerts drop --all"),
    "alerts list": ("hashscan alerts list", "hashscan alerts list --format json"),
    "alerts send": ("hashscan alerts send", "hashscan alerts send --now"),
    "alerts test": ("hashscan alerts test", "hashscan alerts test --syslog"),
    "setup": ("hashscan setup /var/www --dry-run", "hashscan setup", "hashscan setup --remove"),
    "config check": ("hashscan config check", "hashscan config check hashscan.toml"),
    "config init": ("hashscan config init", "hashscan config init -"),
    "config show": ("hashscan config show --changed", "hashscan config show lists pull"),
    "state check": ("hashscan state check", "hashscan state check --state /var/lib/hashscan"),
    "state export": ("hashscan state export --output known.csv", "hashscan state export --format ndjson"),
    "state status": ("hashscan state status", "hashscan state status --format json"),
    "state vacuum": ("hashscan state vacuum", "hashscan state vacuum --state /var/lib/hashscan"),
    "keys add": (
        "hashscan keys add webmail --http-keys keys --right scan",
        "hashscan keys add monitor --http-keys keys --right metrics --until 2099-01-31",
    ),
    "keys list": (
        "hashscan keys list --http-keys keys",
        "hashscan keys list --http-keys keys --format json",
    ),
    "keys revoke": (
        "hashscan keys revoke webmail --http-keys keys",
        "hashscan keys revoke webmail monitor --http-keys keys",
    ),
    "worker": (
        "hashscan worker --scheduler tls://scheduler:8786 --cluster-ca ca.pem --cluster-cert host.pem "
        "--cluster-key host.key",
        "hashscan worker --scheduler tls://scheduler:8786 --processes 4 --cluster-ca ca.pem "
        "--cluster-cert host.pem --cluster-key host.key",
    ),
    "selftest": ("hashscan selftest", "hashscan selftest --sandbox required"),
    "schema": ("hashscan schema", "hashscan schema report"),
    "completion": (
        "hashscan completion bash > /etc/bash_completion.d/hashscan",
        "hashscan completion zsh > ~/.zfunc/_hashscan",
    ),
    "manual": (
        "hashscan manual | man -l -",
        "hashscan manual > /usr/local/share/man/man1/hashscan.1",
    ),
}
"""Examples by the words of the command, without comments: two or three, which exist as they are shown."""

NO_SEARCH: Mapping[int, str] = {
    0: "done",
    3: "done in part; the messages say what is left",
    11: "another process holds the lock",
}
"""Meanings of exit codes where a command searches for nothing."""

MEANINGS: Mapping[str, Mapping[int, str]] = {
    "check": {3: "nothing found, but not everything could be checked"},
    "lookup": {0: "no file is known", 1: "a file is known", 3: "none is known, but not everything was read"},
    "hash": {3: "a file could not be read or decoded"},
    "lists status": {0: "all lists are good", 3: "a list is stale, damaged or not pulled"},
    "lists verify": {0: "all entries are valid", 3: "a list is not good, others are"},
    "lists pull": {3: "a version is staged and waits for `lists activate --confirm`"},
    "lists activate": {3: "a version stays staged, as it would match too many known files"},
    "config check": {0: "valid", 2: "a mistake in the file or in a variable"},
    "customers": {0: "every item has a customer", 3: "an item has no customer"},
    "quarantine verify": {0: "the log and all items are as they were", 12: "something is changed or missing"},
    "state check": {0: "no damage", 12: "damage, or the state can't be read"},
    "alerts digest": {13: "the digest, or another alert, could not be delivered; it waits"},
    "alerts send": {13: "an alert could not be delivered; it waits"},
    "alerts test": {0: "all channels work", 13: "a channel does not work"},
    "worker": {2: "usage or configuration", 13: "the scheduler can't be reached"},
    "selftest": {0: "all parts work", 3: "a part does not work"},
}
"""Meanings of exit codes that are a command's own."""
