"""Tasks over a folder: `python app_celery.py N` sends N of them."""
import os
import sys

from celery import Celery

folder = os.environ["TEST_FOLDER"]
app = Celery("app_celery", broker="filesystem://")
app.conf.broker_transport_options = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder}


@app.task
def work(number):
    return number


if __name__ == "__main__":
    for n in range(int(sys.argv[1])):
        work.delay(n)
