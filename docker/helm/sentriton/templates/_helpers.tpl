{{- define "sentriton.labels" -}}
app.kubernetes.io/name: sentriton
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "sentriton.gatewayLabels" -}}
app.kubernetes.io/name: sentriton-gateway
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "sentriton.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Values.device }}
{{- end }}

{{- define "sentriton.sharedMemory" -}}
{{ .Values.sharedMemory | default (eq .Values.device "gpu" | ternary "4Gi" "1Gi") }}
{{- end }}

{{- define "sentriton.memory" -}}
{{ .Values.memory | default (eq .Values.device "gpu" | ternary "16Gi" "6Gi") }}
{{- end }}

{{- define "sentriton.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Some clusters' DNS listens on 5353 behind its Service, and the policy sees the pod's port. */}}
{{- define "sentriton.dnsPorts" -}}
- {port: 53, protocol: UDP}
- {port: 53, protocol: TCP}
- {port: 5353, protocol: UDP}
- {port: 5353, protocol: TCP}
{{- end }}
