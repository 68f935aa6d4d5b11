"""What is published is named by its bytes, so these may hang on nothing else."""

from worker.publish import zip_folder


def test_the_zip_does_not_depend_on_the_order_of_its_files():
    files = {"b": b"2", "a": b"1"}
    assert zip_folder(files) == zip_folder(dict(sorted(files.items())))
    assert zip_folder(files) != zip_folder({"b": b"2", "a": b"3"})
