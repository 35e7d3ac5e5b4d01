"""What is deployed, checked before it is: `make deploy-check`.

    manifests   the k8_*.yaml as objects, held to Kubernetes' own schemas
    rules       what the mirror asks of them besides, held against the program
    alerts      docs/alerts.yaml: its shape, its expressions, its metrics
    tools       Dockerfile by hadolint, shell scripts by shellcheck
    units       systemd's units, installed into a temporary prefix

Each check returns sentences, a problem each.
"""
