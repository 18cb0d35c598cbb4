#!/bin/sh
# Label each new dump of a folder, for cron or systemd: silent unless a person should look.
set -eu
umask 027
export PATH="/opt/spam-batch/.venv/bin:/usr/bin:/bin"
bundle="/opt/spam-batch/models/spam"
dumps="/srv/spam/dumps" # a dump is copied in as .name, which is not read, then renamed
labeled="/srv/spam/labeled"
logs="/srv/spam/logs"

log="$logs/$(date +%F-%H%M%S)-$$.log"
mkdir -p "$logs" && touch "$log" || exit 73
status=0
spam-batch classify "$dumps" --out-dir "$labeled" --bundle "$bundle" --log-format json \
  >>"$log" 2>&1 || status=$?
grep -v '"level": "info"' "$log" >&2 || [ "$status" -eq 0 ] || echo "$log: exit $status" >&2
day='[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]'
find "$logs" -maxdepth 1 -type f -name "$day-[0-9][0-9][0-9][0-9][0-9][0-9]-[0-9]*.log" \
  -mtime +60 -delete || true
exit "$status"
