{{/* The name that all objects begin with. */}}
{{- define "siem.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods of this release, whatever their role. */}}
{{- define "siem.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "siem.labels" -}}
{{ include "siem.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "siem.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "siem.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "siem.name" .) -}}
{{- end -}}

{{/*
Which secrets each kind of process reads, by the name of its setting: no more than it uses. A router opens no
secret and no ledger, a worker no ledger. Given: the context and `for`.
*/}}
{{- define "siem.secretSettings" -}}
{{- $secrets := .context.Values.secrets -}}
{{- $keys := $secrets.keys -}}
{{- $redis := list "REDIS_URL" $secrets.existingSecret $keys.redisUrl -}}
{{- $database := list "DATABASE_URL" $secrets.existingSecret $keys.databaseUrl -}}
{{- $sealing := list "SECRET_KEYS" $secrets.existingSecret $keys.secretKeys -}}
{{- $token := list "METRICS_TOKEN" $secrets.existingSecret $keys.metricsToken -}}
{{- $webhook := list "HEALTH_WEBHOOK_URL" $secrets.existingSecret $keys.healthWebhookUrl -}}
{{- $owner := list "DATABASE_URL" ($secrets.owner.existingSecret | default $secrets.existingSecret) $secrets.owner.databaseUrl -}}
{{- $all := dict
  "router" (list $redis)
  "recorder" (list $redis $database $sealing $webhook)
  "worker" (list $redis $sealing)
  "api" (list $redis $database $sealing $token)
  "migration" (list $redis $owner)
  "preflight" (list $redis $database $sealing $token $webhook)
-}}
{{- $named := list -}}
{{- range get $all .for -}}
{{- if index . 2 -}}{{- $named = append $named . -}}{{- end -}}
{{- end -}}
{{- $named | toJson -}}
{{- end -}}

{{/*
What must be in the Secrets before a pod starts: the value that names the Secret, the Secret, the value that names
the key, the key.
*/}}
{{- define "siem.neededSecrets" -}}
{{- $secrets := .Values.secrets -}}
{{- $needed := list -}}
{{- range $value, $key := $secrets.keys -}}
{{- if $key -}}
{{- $needed = append $needed (list "secrets.existingSecret" $secrets.existingSecret (printf "secrets.keys.%s" $value) $key) -}}
{{- end -}}
{{- end -}}
{{- if .Values.migration.enabled -}}
{{- $owner := ternary "secrets.owner.existingSecret" "secrets.existingSecret" (ne $secrets.owner.existingSecret "") -}}
{{- $needed = append $needed (list $owner ($secrets.owner.existingSecret | default $secrets.existingSecret) "secrets.owner.databaseUrl" $secrets.owner.databaseUrl) -}}
{{- end -}}
{{- if .Values.flower.enabled -}}
{{- range $value, $key := .Values.flower.secretKeys -}}
{{- $needed = append $needed (list "secrets.existingSecret" $secrets.existingSecret (printf "flower.secretKeys.%s" $value) $key) -}}
{{- end -}}
{{- end -}}
{{- $needed | toJson -}}
{{- end -}}

{{/* The settings of a process: plain values, and the files that hold its secrets. */}}
{{- define "siem.env" -}}
{{- $own := .own | default dict -}}
{{- $settings := merge (deepCopy $own) (deepCopy .context.Values.settings) -}}
{{- range $name, $value := $settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range include "siem.secretSettings" . | fromJsonArray }}
- name: SIEM_{{ index . 0 }}_FILE
  value: /run/secrets/siem/{{ index . 0 | lower }}
{{- end }}
{{- end -}}

{{- define "siem.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
- name: secrets
  projected:
    # Readable for the group of the process, and for no other.
    defaultMode: 0440
    sources:
      {{- range include "siem.secretSettings" . | fromJsonArray }}
      - secret:
          name: {{ index . 1 }}
          items:
            - key: {{ index . 2 }}
              path: {{ index . 0 | lower }}
      {{- end }}
{{- with .context.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "siem.mounts" -}}
- name: tmp
  mountPath: /tmp
- name: secrets
  mountPath: /run/secrets/siem
  readOnly: true
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "siem.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "siem.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* What a pod of any kind has. Given: the context and `scheduling`. */}}
{{- define "siem.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .context.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "siem.podSecurity" . | nindent 2 }}
{{- with .scheduling.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .scheduling.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .scheduling.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .scheduling.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/*
A Deployment of one role. Given: `context`, `role` (its name here), `for` (which secrets), `args` (the Procfile's
words), `values` (replicas, resources, scheduling), and what the API alone has: `port`, `own`, `readiness`.
*/}}
{{- define "siem.deployment" -}}
{{- $root := .context -}}
{{- $name := printf "%s-%s" (include "siem.name" $root) .role -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  labels:
    {{- include "siem.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .role }}
spec:
  {{- if not .scaled }}
  replicas: {{ .values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  selector:
    matchLabels:
      {{- include "siem.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .role }}
  template:
    metadata:
      labels:
        {{- include "siem.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .role }}
        {{- if .internet }}
        siem/internet: "yes"
        {{- end }}
      annotations:
        # Another value replaces the pods: Kubernetes does not restart them when a secret changes.
        siem/secrets-revision: {{ $root.Values.secrets.revision | quote }}
        {{- with $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "siem.serviceAccount" $root }}
      {{- include "siem.pod" (dict "context" $root "scheduling" .values) | nindent 6 }}
      terminationGracePeriodSeconds: {{ .grace }}
      topologySpreadConstraints:
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "siem.selector" $root | nindent 14 }}
              app.kubernetes.io/component: {{ $.role }}
        {{- end }}
      containers:
        - name: {{ .role }}
          image: {{ include "siem.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          # The image's entry point is an init; these are the words of the Procfile.
          args: {{ .args | toJson }}
          env:
            {{- include "siem.env" (dict "context" $root "for" .for "own" (merge (dict "SIEM_PROBE_HOST" "0.0.0.0" "SIEM_PROBE_PORT" "8081") (.own | default dict))) | trim | nindent 12 }}
          ports:
            - name: probe
              containerPort: 8081
            {{- if .port }}
            - name: http
              containerPort: {{ .port }}
            {{- end }}
          # Ready as soon as it can be, and up to five minutes: on a node where many start at once each takes long,
          # and one that is ended then starts from the beginning. Afterwards it must answer within seconds.
          startupProbe:
            httpGet: {path: /livez, port: probe}
            periodSeconds: 2
            timeoutSeconds: 5
            failureThreshold: 150
          livenessProbe:
            httpGet: {path: /livez, port: probe}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {{ .readiness | default (dict "path" "/readyz" "port" "probe") | toJson }}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 3
          {{- if .port }}
          lifecycle:
            # Balancers need a moment to send no further request here.
            preStop:
              exec: {command: [sleep, "5"]}
          {{- end }}
          resources:
            {{- toYaml .values.resources | nindent 12 }}
          securityContext:
            {{- include "siem.containerSecurity" $root | nindent 12 }}
          volumeMounts:
            {{- include "siem.mounts" $root | nindent 12 }}
      volumes:
        {{- include "siem.volumes" (dict "context" $root "for" .for) | nindent 8 }}
{{- end -}}

{{/* A Job of one command. Given: `context`, `name`, `for`, `args`, `annotations`, `seconds`, `tries`. */}}
{{- define "siem.job" -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "siem.commandMetadata" . | nindent 2 }}
spec:
  backoffLimit: {{ .tries }}
  activeDeadlineSeconds: {{ .seconds }}
  template:
    metadata:
      labels:
        {{- include "siem.labels" .context | nindent 8 }}
        app.kubernetes.io/component: {{ .name }}
    spec:
      {{- include "siem.command" . | nindent 6 }}
{{- end -}}

{{/* A pod of one command, once. Given: what a Job is given, but for `tries`. */}}
{{- define "siem.once" -}}
apiVersion: v1
kind: Pod
metadata:
  {{- include "siem.commandMetadata" . | nindent 2 }}
spec:
  activeDeadlineSeconds: {{ .seconds }}
  {{- include "siem.command" . | nindent 2 }}
{{- end -}}

{{- define "siem.commandMetadata" -}}
name: {{ include "siem.name" .context }}-{{ .name }}
labels:
  {{- include "siem.labels" .context | nindent 2 }}
  app.kubernetes.io/component: {{ .name }}
annotations:
  {{- toYaml .annotations | nindent 2 }}
{{- end -}}

{{- define "siem.command" -}}
{{- $root := .context -}}
# Without the chart's service account: hooks before the installation run before that is made.
{{ include "siem.pod" (dict "context" $root "scheduling" $root.Values.jobs) }}
restartPolicy: Never
containers:
  - name: {{ .name }}
    image: {{ include "siem.image" $root }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args: {{ .args | toJson }}
    env:
      {{- include "siem.env" (dict "context" $root "for" .for "own" .own) | trim | nindent 6 }}
    resources:
      {{- toYaml $root.Values.jobs.resources | nindent 6 }}
    securityContext:
      {{- include "siem.containerSecurity" $root | nindent 6 }}
    volumeMounts:
      {{- include "siem.mounts" $root | nindent 6 }}
volumes:
  {{- include "siem.volumes" (dict "context" $root "for" .for) | nindent 2 }}
{{- end -}}

{{/* The name of a type of worker in Kubernetes, where no underscore may be. */}}
{{- define "siem.workerRole" -}}
worker-{{ . | replace "_" "-" }}
{{- end -}}

{{/* What the API alone has in its environment. */}}
{{- define "siem.apiSettings" -}}
SIEM_API_HOST: "0.0.0.0"
SIEM_API_PORT: "8080"
{{- with .Values.api.trustedProxies }}
SIEM_API_TRUSTED_PROXIES: {{ join "," . | quote }}
{{- end }}
{{- end -}}
