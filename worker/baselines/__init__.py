"""The methods that Recover-to-Forget is compared with, one file each, written from their papers."""
