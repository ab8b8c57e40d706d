#!/bin/sh
# A batch of 100,000 rows over two lines that fail now and then, killed three times: each row is answered once and rightly,
# and a long batch takes no more memory than a short one. ROWS=20000 makes it shorter. A minute or two.
set -e
exec lua5.4 -l spec.helper spec/hard/batch_soak.lua "${ROWS:-100000}"
