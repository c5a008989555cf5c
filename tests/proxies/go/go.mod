module avikam/tests/proxies

go 1.22
