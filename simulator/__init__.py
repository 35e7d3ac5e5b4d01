"""A simulated DQM² with two clusters behind one gateway, for the demo, tests and benchmarks.

It speaks the protocol as seen from outside P5 (docs/dqm2-protocol.md), over HTTPS with a throwaway
certificate authority, and injects faults on request. Runs, logs, names and secrets are generated from a seed.

    simulator     all of it, started and stopped together
    HTTP          https_server, certificates, http_types
    gateway       gateway, sync_endpoint, control_commands, fault_injection; admin
    machines      machines, daemons
    simulation    world, cluster_life, scheduler
    plans         runs, clients, fake_secrets
    documents     documents, job_reports, cmssw_log, crash_log, delivery

The state of a run or a job at any moment follows from its plan, so a document is built only when it is
requested.
"""
