"""What nothing may do that is forked: it starts a thread when it is imported."""

import threading
import time

from tests.support.forked_program import main

threading.Thread(target=time.sleep, args=(60,), daemon=True).start()

if __name__ == "__main__":
    raise SystemExit(main())
