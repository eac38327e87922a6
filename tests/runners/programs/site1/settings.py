SECRET_KEY = "for tests only"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "site1.urls"
MIDDLEWARE = []
INSTALLED_APPS = []
