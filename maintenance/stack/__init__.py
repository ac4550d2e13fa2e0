"""The stack: everything the server is made of, started, watched and stopped by one command, `runstack`."""
