"""The guard: what stands beside a device, whatever the mind says."""
