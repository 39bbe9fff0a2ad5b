# The bot in a container. The retest command runs inside bubblewrap, which needs
# unprivileged user namespaces: where the engine forbids them, `mergegate check`
# says so and retests run without a sandbox (or use retest.checks).
#
#   docker build -t mergegate .
#   docker run -v ./config:/config:ro -v mergegate:/data -p 8080:8080 mergegate
#
# In the configuration set listen: 0.0.0.0:8080 and data_dir: /data.

FROM golang:1.26-bookworm AS build
WORKDIR /src
# The Go that go.mod names, if it is newer than the image's.
ENV GOTOOLCHAIN=auto
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /mergegate .

FROM debian:bookworm-slim
RUN apt-get update \
	&& apt-get install -y --no-install-recommends bubblewrap ca-certificates git \
	&& rm -rf /var/lib/apt/lists/* \
	&& useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin mergegate \
	&& install -d -o mergegate -g mergegate -m 0700 /data
COPY --from=build /mergegate /usr/bin/mergegate
USER mergegate
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["/usr/bin/mergegate"]
CMD ["serve", "--config", "/config/config.yaml"]
