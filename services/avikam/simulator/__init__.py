"""What a cluster would do under a traffic trace: Kubernetes' autoscaler, our routing and admission,
and a profile's service times, in virtual time."""
