{{/* The name of everything that is installed. Leaves room for what is appended. */}}
{{- define "aevon.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* What never changes of a component's labels. Takes (dict "root" $ "component" "ingest"). */}}
{{- define "aevon.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* A pod's labels: without the chart's version, which would roll pods that do not change. */}}
{{- define "aevon.podLabels" -}}
{{ include "aevon.selector" . }}
app.kubernetes.io/part-of: aevon
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end }}

{{- define "aevon.labels" -}}
{{ include "aevon.podLabels" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The program of a component's image. */}}
{{- define "aevon.program" -}}
{{- get (dict "ingest" "ingest-svc" "projection" "projection-svc" "aggregator" "aggregator-svc") .component | default "aevon" -}}
{{- end }}

{{/* Where a component listens. */}}
{{- define "aevon.port" -}}
{{- get (dict "ingest" "8081" "projection" "8082" "aggregator" "8083") . -}}
{{- end }}

{{- define "aevon.image" -}}
{{- $image := .root.Values.image -}}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}/{{ include "aevon.program" . }}:{{ default .root.Chart.AppVersion $image.tag }}
{{- end }}

{{- define "aevon.serviceAccount" -}}
{{- $account := (index .root.Values .component).serviceAccount -}}
{{- $own := printf "%s-%s" (include "aevon.fullname" .root) .component -}}
{{- default (ternary $own "default" $account.create) $account.name -}}
{{- end }}

{{/* The variables of a program: the address of Postgres, then settings. Takes also "database"
and "settings", its own, and "chart", what only the chart may set. */}}
{{- define "aevon.env" -}}
{{- $values := .root.Values -}}
{{- $secret := default (printf "%s-database" (include "aevon.fullname" .root)) $values.database.secretName -}}
- name: AEVON_DATABASE__URL
  valueFrom:
    secretKeyRef:
      name: {{ default $secret .database.secretName }}
      key: {{ default $values.database.key .database.key }}
{{- $settings := mergeOverwrite (deepCopy $values.settings) (deepCopy (default dict .settings)) (default dict .chart) }}
{{- range $section, $keys := $settings }}
{{- range $key, $value := $keys }}
- name: {{ printf "AEVON_%s__%s" $section $key | upper }}
  value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* What the `restricted` pod security standard asks of a pod, and of a container. */}}
{{- define "aevon.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.security.runAsUser }}
runAsUser: {{ int64 . }}
{{- end }}
{{- with .Values.security.runAsGroup }}
runAsGroup: {{ int64 . }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "aevon.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "aevon.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Which path is whose: the table of docs/http.md. */}}
{{- define "aevon.routes" -}}
- {component: ingest, method: POST, type: Exact, path: /v1/events}
- {component: ingest, method: POST, type: Exact, path: /api/v1/events}
- {component: ingest, method: GET, type: Prefix, path: /v1/rejected}
- {component: ingest, method: GET, type: Exact, path: /v1/schemas}
- {component: ingest, method: POST, type: Prefix, path: /v1/schemas}
- {component: projection, method: GET, type: Prefix, path: /v1/state}
- {component: projection, method: GET, type: Prefix, path: /v1/explain}
- {component: projection, method: GET, type: Prefix, path: /v1/verify}
- {component: projection, method: GET, type: Prefix, path: /v1/events}
- {component: projection, method: GET, type: Prefix, path: /v1/principals}
- {component: projection, method: GET, type: Prefix, path: /v1/rules}
- {component: projection, method: GET, type: Prefix, path: /api/v1/meters}
{{- $settings := mergeOverwrite (deepCopy .Values.settings) (deepCopy (default dict .Values.projection.settings)) }}
{{- if dig "explorer" "enabled" true $settings }}
- {component: projection, method: GET, type: Exact, path: /}
{{- end }}
{{- end }}

{{/* The largest number of pods of a component. Takes "root" and "component". */}}
{{- define "aevon.mostPods" -}}
{{- $own := index .root.Values .component -}}
{{- ternary $own.autoscaling.maxReplicas $own.replicas $own.autoscaling.enabled | int -}}
{{- end }}

{{/* How many connections to Postgres the pods of a component open at most. */}}
{{- define "aevon.connections" -}}
{{- $own := index .root.Values .component -}}
{{- $settings := mergeOverwrite (deepCopy .root.Values.settings) (deepCopy (default dict $own.settings)) -}}
{{- $ofPod := get (dict
  "ingest" (add 4 (dig "ingest" "writers" 2 $settings))
  "projection" (dig "database" "max_connections" 16 $settings)
  "aggregator" 2) .component -}}
{{- mul $ofPod (include "aevon.mostPods" .) -}}
{{- end }}

{{/* Whether there are rules to apply. */}}
{{- define "aevon.hasRules" -}}
{{- if or .Values.rules.files .Values.rules.existingConfigMap }}yes{{ end -}}
{{- end }}

{{- define "aevon.hasSchemas" -}}
{{- if or .Values.schemas.files .Values.schemas.existingConfigMap }}yes{{ end -}}
{{- end }}

{{/* A key of a ConfigMap for a path, which may hold what a key may not. */}}
{{- define "aevon.schemaKey" -}}
{{- printf "%s.%s" (sha256sum . | trunc 12) (base .) -}}
{{- end }}
