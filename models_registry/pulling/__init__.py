"""What is known of a pull while it goes on: how far it is, its states, its events, and the thread that tells them."""
