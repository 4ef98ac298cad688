"""What `./dev package` runs: the Debian package, the RPM and the offline bundle, reproducibly."""
