{{/* The spec of a job that runs `aevon`. Takes "root", "component", "own" (its values), "account",
"args", and "rules" where the folder of rules is mounted. */}}
{{- define "aevon.jobSpec" -}}
backoffLimit: {{ .own.backoffLimit }}
activeDeadlineSeconds: {{ .own.activeDeadlineSeconds }}
ttlSecondsAfterFinished: 86400
template:
  metadata:
    labels: {{- include "aevon.podLabels" . | nindent 6 }}
  spec:
    restartPolicy: Never
    serviceAccountName: {{ .account }}
    automountServiceAccountToken: false
    enableServiceLinks: false
    {{- with include "aevon.pullSecrets" .root }}
    {{- . | nindent 4 }}
    {{- end }}
    securityContext: {{- include "aevon.podSecurity" .root | nindent 6 }}
    containers:
      - name: aevon
        image: {{ include "aevon.image" . | quote }}
        imagePullPolicy: {{ .root.Values.image.pullPolicy }}
        args: {{ toJson .args }}
        securityContext: {{- include "aevon.containerSecurity" .root | nindent 10 }}
        env:
          {{- include "aevon.env" (dict "root" .root "database" .own.database) | nindent 10 }}
        resources: {{- toYaml .own.resources | nindent 10 }}
        {{- with .rules }}
        volumeMounts:
          - {name: rules, mountPath: /etc/aevon/rules, readOnly: true}
    volumes:
      - name: rules
        configMap: {name: {{ . }}}
        {{- end }}
{{- end }}
