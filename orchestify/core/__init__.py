"""Configuration: from YAML and the environment to frozen models.

Read `config.py` first: it reads files (`files`, `yaml_reader`) or a mapping (`mapping_reader`),
substitutes variables and keys (`variables`, `substitution`), validates each part and its references
(`validation`, `references`) and returns a `Config`. A mistake is a `Problem` at its line.

Other rooms import from: addresses, agents, aliases, chains, config, error_messages, files,
policies, problems, provider_types, providers, references, warnings, yaml_reader.
"""

from orchestify.host_package import with_hosts_folders

__path__ = with_hosts_folders(__name__, __path__)
