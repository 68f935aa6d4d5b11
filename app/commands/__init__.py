"""The commands of `r2f`: a file a noun or verb, each thin; what is slow to import is imported when it runs."""
