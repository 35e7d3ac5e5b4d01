"""Checks of the deployment files: `make deploy-check`.

    manifests        the Kubernetes manifests of each cluster, against Kubernetes' schemas
    manifest_rules   the manifests against the program and the facts of CMSWEB's clusters
    source_rules     the unrendered manifests and the Dockerfile against CMSWEB's deploy script
    apply_over       what applying them over the earlier mirror does
    alerts           docs/alerts.yaml: shape, expressions
    dashboard        docs/grafana-dashboard.json: layout, queries, legends
    promql           expressions of both, against `exported_metrics`: those of the programs, with labels
    linters          Dockerfile, shell scripts, systemd units

Each check returns sentences, one per problem.
"""
