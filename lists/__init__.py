"""The mailing-list domain: addresses, policy, members. Pure, except store.py; knows nothing of queues or sockets."""
