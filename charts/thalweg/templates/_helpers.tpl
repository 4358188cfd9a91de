{{- define "thalweg.name" -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "thalweg.account" -}}
{{- .Values.serviceAccount.name | default (include "thalweg.name" .) -}}
{{- end }}

{{- define "thalweg.reportKey" -}}
{{- .Values.operator.reportKeySecret | default (printf "%s-report-key" (include "thalweg.name" .)) -}}
{{- end }}

{{- define "thalweg.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end }}

{{- define "thalweg.selector" -}}
app.kubernetes.io/name: thalweg-operator
app.kubernetes.io/instance: {{ include "thalweg.name" . }}
{{- end }}

{{- define "thalweg.labels" -}}
{{ include "thalweg.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* What the operator may do where pipelines are. It may give workers no more than it has itself, and reads no Secret. */}}
{{- define "thalweg.rules" -}}
- apiGroups: [thalweg.dev]
  resources: [streampipelines, streamsources, streamsinks]
  verbs: [get, list, watch]
- apiGroups: [thalweg.dev]
  resources: [streampipelines/status, streamsources/status, streamsinks/status]
  verbs: [patch]
- apiGroups: [thalweg.dev]
  resources: [streampipelines/finalizers]
  verbs: [update]
# A finalizer of its own, where state is to be removed with a pipeline; it writes no other field.
- apiGroups: [thalweg.dev]
  resources: [streampipelines]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, create]
- apiGroups: [thalweg.dev]
  resources: [streamassignments]
  verbs: [get, list, watch, create, update, patch]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, watch, create, update, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, update, patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [""]
  resources: [serviceaccounts, services]
  verbs: [get, list, watch, create, update, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, update, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, update, patch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, update, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
