"""From ``conf/`` and ``params.yaml`` to one resolved, validated configuration."""
