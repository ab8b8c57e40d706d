#!/bin/sh
# Half a million requests through one worker of nginx, each a call of surefoot, every tenth a stream: none fails, and
# memory is at the end what it was at the beginning. REQUESTS=50000 makes it shorter; wrk makes the requests. A minute.
set -e
exec lua5.4 -l spec.helper spec/hard/nginx_soak.lua "${REQUESTS:-500000}"
