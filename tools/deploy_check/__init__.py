"""Checks of the deployment files: `make deploy-check`.

    manifests        the Kubernetes manifests of each cluster, against Kubernetes' schemas
    manifest_rules   the manifests against the program and the facts of CMSWEB's clusters
    apply_over       what applying them over the earlier mirror does
    alerts           docs/alerts.yaml: shape, expressions
    dashboard        docs/grafana-dashboard.json: layout, queries, legends
    promql           expressions of both, against the metrics and labels that the programs export
    linters          Dockerfile, shell scripts, systemd units

Each check returns sentences, one per problem.
"""
