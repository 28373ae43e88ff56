"""`python3 -m streams …` from the clone's root: works before anything is installed, since it installs."""

import os
import shutil
import sys

# Before any other import: an old Python must get a sentence, not a SyntaxError from further down.
if sys.version_info < (3, 11):  # noqa: UP036
    newer = [name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)]
    advice = "run `{} -m streams {}`".format("".join(newer[:1]), " ".join(sys.argv[1:]))
    here = "{}.{}".format(*sys.version_info[:2])
    sys.exit(f"CX Streams needs Python 3.11 or newer, this is {here}: {advice if newer else 'install one'}")
if os.name != "posix":
    sys.exit("CX Streams runs on Linux and macOS; on Windows use it inside WSL")

from streams import bootstrap

if __name__ == "__main__":
    sys.exit(bootstrap.main(sys.argv[1:]))
