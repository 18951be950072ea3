"""Jobs that run elsewhere, as Airflow's tasks: on a Ray cluster. Airflow needs no Ray for it."""
