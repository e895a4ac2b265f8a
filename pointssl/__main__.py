"""`python -m pointssl`, and so `torchrun ... -m pointssl`: the same program as `pointssl`."""

from pointssl_cli.main import main

if __name__ == "__main__":
    main()
