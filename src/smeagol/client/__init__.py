"""The way to ask a running mesh: a standalone one by the socket that only its user can open, one in a cluster by the
API server, which leads to the control plane's replicas.

with Mesh.find() as mesh:
    for pod in mesh.status().pods: ...
"""

from smeagol.client.asking import BadReplyError, MeshNotFoundError, MeshRefusedError, SeveralMeshesError
from smeagol.client.cluster import ClusterMesh, ControlPlaneAwayError
from smeagol.client.standalone import LogTail, Mesh, running_meshes

__all__ = [
    "BadReplyError",
    "ClusterMesh",
    "ControlPlaneAwayError",
    "LogTail",
    "Mesh",
    "MeshNotFoundError",
    "MeshRefusedError",
    "SeveralMeshesError",
    "running_meshes",
]
