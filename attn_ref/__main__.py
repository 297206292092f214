"""``python -m attn_ref`` is ``attn-ref``."""

from attn_ref.cli import main

if __name__ == "__main__":
    main()
