# What `flask` runs when it is called in this folder: `flask user list` is short for `flask --app run user list`.
FLASK_APP=run
