"""Redaction replaces what the data policy names by placeholders that say what was there."""

import json
from urllib.parse import quote_plus

import pytest

from dqm2.redaction.redactor import RedactedText, Redactor

HOSTS = ("dqmfu-c2b03-45-01", "gateway7", "mirror.example.org", "127.0.0.1")
PUBLIC_SITES = ("cmsweb.cern.ch", "cmsoms.cern.ch")


@pytest.fixture(scope="module")
def redact() -> Redactor:
    """One redactor for all tests of the file; it keeps no text between calls."""
    return Redactor(HOSTS, PUBLIC_SITES)


HOST_NAMES = {
    "dqmfu-c2b03-45-01": "[host]",
    "DQMRUBU-C2A06-01-01.CMS is down": "[host] is down",
    "from fu-c2f11-11-01.cms:5100, rubu-c2a06-01-01": "from [host]:5100, [host]",
    "run358788_ls0093_streamDQM_sm-c2a11-43-01.jsn": "run358788_ls0093_streamDQM_[host].jsn",
    "DT_R000358788.root.ls00000090_hostfu-c2f11-11-04_pid00041548": (
        "DT_R000358788.root.ls00000090_host[host]_pid00041548"
    ),
    "srv-c2d05-15 kvm-s3562-1-ip151-85 ctrl-c2f11-21-01": "[host] [host] [host]",
    "cmsvm-b1b07-16-01 mrg-c2f12-27-01.cms.cern.ch": "[host] [host]",
    "a kind of machine unheard of: gem-c2e12-19-01": "a kind of machine unheard of: [host]",
    "cms.string('dqm-prod-local.cms'),": "cms.string('[host]'),",
    "http://cmsfrontier-proxy.cms:3128/x": "http://[host]:3128/x",
    "dqm-prod-local.cms.log": "[host].log",
    "x@adm-fu-c2f11-11-01.cms, adm.fu-c2f11-11-01.cms": "[user]@[host], [host]",
    "2022-09-15-fu-c2f11-11-01.log": "2022-09-15-[host].log",
    "cmsdimns1.cern.ch and vocms0123.CERN.CH.": "[host] and [host].",
    "x.cmsweb.cern.ch is not cmsweb.cern.ch": "[host] is not cmsweb.cern.ch",
    "gateway7 GATEWAY7.cms _hostgateway7_pid1": "[host] [host] _host[host]_pid1",
    "mirror and mirror.example.org": "[host] and [host]",
    "cut off: fu-c2f11-1": "cut off: [host]",
    "line\\nfu-c2f11-11-01\\nfoo.cms\\n": "line\\n[host]\\n[host]\\n",
    "devfu-c2b03-45-01": "[host]",
    "fff_deleter_fu_c2f11_11_01.py, place c2f11-19-01.": "fff_deleter_[host].py, place [host].",
    "lxplus8s16 or lxplus8s16.cern.ch": "[host] or [host]",
    "lxplus801, lxplus (vocms0731)": "[host], lxplus ([host])",
    "vmepcS2B18-39 vmepcs2b18-39.cms cmsusr1 scx5scr21": "[host] [host] [host] [host]",
    "slot1@b9p22p1234 lxplus801.cern.ch": "[user]@[host] [host]",
    "HOST=mynode REMOTEHOST=mypc": "HOST=[host] REMOTEHOST=[host]",
    "xrd.info=&xrd.hostname=36abad7e30b5&xrd.rn=v5.9.1": "xrd.info=&xrd.hostname=[host]&xrd.rn=v5.9.1",
    "dim_dns_node=cmsdimns1": "dim_dns_node=[host]",
    "HOSTNAME=mynode DIM_DNS_NODE=dipns1,dipns2": "HOSTNAME=[host] DIM_DNS_NODE=[host]",
    "https://cmsweb.cern.ch:8443 eoscms.cern.ch": "https://cmsweb.cern.ch:8443 [host]",
    "abc.cms" * 400: "[host]",
}


def test_it_replaces_host_names(redact: Redactor) -> None:
    assert {text: redact(text) for text in HOST_NAMES} == HOST_NAMES


ADDRESSES = {
    "10.176.60.12:53312": "[ip]:53312",
    "IP 10.176.60.12.53312 > 10.176.60.13.22.": "IP [ip].53312 > [ip].22.",
    "\x1b[31m10.176.60.12\x1b[0m": "[ip]",
    "file_10.0.0.1.log": "file_[ip].log",
    "2001:1458:d00:b::100:5a/64": "[ip]/64",
    "peer 2001:1458:47d2::9f5:53312 attached": "peer [ip]:53312 attached",
    "[2001:DB8::1]:9215": "[[ip]]:9215",
    "2001:1458:0d00:000b:0000:0000:0100:005a: refused": "[ip]: refused",
    "fe80::1%eth0": "[ip]%eth0",
    "::ffff:10.176.60.12 64:ff9b::10.1.2.3": "[ip] [ip]",
    "::ffff:0a01:0203": "[ip]",
    "2001:1458:201:: and 2001:1458:201::/48": "[ip] and [ip]/48",
    "inet6 addr:2001:db8::1": "inet6 addr:[ip]",
    "<10.1.2.3:9618?addrs=10.1.2.3-9618+[2001-1458-d00-b--100-5a]-9618>": (
        "<[ip]:9618?addrs=[ip]-9618+[[ip]]-9618>"
    ),
    "node-10.176.60.12 http://137.138.1.2/x": "node-[ip] http://[ip]/x",
}


def test_it_replaces_addresses(redact: Redactor) -> None:
    assert {text: redact(text) for text in ADDRESSES} == ADDRESSES


USERS = {
    "/nfshome0/dqmpro/pixel_lumi.txt": "/nfshome0/[user]/pixel_lumi.txt",
    "/home/dqmdev": "/home/[user]",
    "/afs/cern.ch/user/d/dqmpro/.dqmrc": "/afs/cern.ch/user/d/[user]/.dqmrc",
    "/eos/user/j/jdoe/x /eos/home-j/jdoe/x": "/eos/user/j/[user]/x /eos/home-j/[user]/x",
    '"path": "\\/nfshome0\\/dqmpro\\/x"': '"path": "\\/nfshome0\\/[user]\\/x"',
    "ssh dqmpro@fu-c2f11-11-01 ls": "ssh [user]@[host] ls",
    "dqmpro@gateway7:/x": "[user]@[host]:/x",
    "DIM_DNS@cmsdimns1.cern.ch: refused": "[user]@[host]: refused",
    "CmsBeamSpotServer(42714)@fu-c2f11-15-04.cms:5100": "CmsBeamSpotServer(42714)@[host]:5100",
    "user=dqmpro, uid=51234(dqmpro) gid=1399(zh)": "user=[user], uid=[user] gid=1399(zh)",
    "LOGNAME=dqmpro USER='dqm pro' login=x": "LOGNAME=[user] USER='[user]' login=[user]",
    '{"user": "dqmpro", "n": 1}': '{"user": "[user]", "n": 1}',
    "--user dqmpro -- '--user', 'dqmpro'": "--user [user] -- '--user', '[user]'",
    "john.doe@cern.ch, dqm-oncall@mail.example.org.": "[email], [email].",
    "dqmpro@CERN.CH": "[email]",
    "dqmpro@10.176.60.12": "[user]@[ip]",
    "dqmpro@lxplus801 DIM_DNS@dipns1": "[user]@[host] [user]@[host]",
    "ssh dqmpro@laptop uptime": "ssh [user]@[host] uptime",
    "scp x.root dqmpro@laptop:/tmp": "scp x.root [user]@[host]:/tmp",
    "dqmpro@laptop:~/x": "[user]@[host]:~/x",
    "ssh-rsa AAAAB3NzaC1yc2E= dqmpro@laptop": "ssh-rsa AAAAB3NzaC1yc2E= [user]@[host]",
    "kinit: dqmpro@REALM": "kinit: [user]@REALM",
    "root://x//eos/cms/store/user/dqmpro/x.root": "root://x//eos/cms/store/user/[user]/x.root",
    "/store/user/rucio/dqmpro/x /afs/.cern.ch/user/d/dqmpro/x": (
        "/store/user/rucio/[user]/x /afs/.cern.ch/user/d/[user]/x"
    ),
    "/DC=ch/DC=cern/OU=Users/CN=jdoe/CN=512345/CN=John Doe": (
        "/DC=ch/DC=cern/OU=Users/CN=[user]/CN=[user]/CN=[user]"
    ),
    "DC = cern, CN = 512345, CN = John Doe, OU = Users": "DC = cern, CN = [user], CN = [user], OU = Users",
    "user CN=John Doe is not mapped": "user CN=[user] is not mapped",
    'authentication failed for user "cms_dqm"': 'authentication failed for user "[user]"',
    'Owner = "jdoe" REMOTE_USER=jdoe': 'Owner = "[user]" REMOTE_USER=[user]',
    '<parameter name="user" value="CMS_COND"/>': '<parameter name="user" value="[user]"/>',
    "XDG_RUNTIME_DIR=/run/user/51234": "XDG_RUNTIME_DIR=/run/user/[user]",
    "MAIL=/var/spool/mail/dqmpro /var/mail/jdoe": "MAIL=/var/spool/mail/[user] /var/mail/[user]",
    "srm://x//store/temp/user/jdoe.1ab2/x.root": "srm://x//store/temp/user/[user]/x.root",
    "logname= uid=1000 euid=0 user= gid=2": "logname= uid=[user] euid=[user] user= gid=2",
    "*       common name: John Doe": "*       common name: [user]",
    "> cms-authn-login: jdoe": "> cms-authn-login: [user]",
    "cms-authn-name: John Doe": "cms-authn-name: [user]",
    "jdoe@laptop's password:": "[user]@[host]'s password:",
    "[jdoe@laptop src]$ cmsRun x.py": "[[user]@[host] src]$ cmsRun x.py",
    "as user jdoe.1234:56@fu-c2f11-11-04": "as user [user]@[host]",
    "jdoe.12345:67@laptop1.example.org": "[email]",
    "sudo -n -u dqmpro ls; su - jdoe": "sudo -n -u [user] ls; su - [user]",
    "ssh -x -l jdoe lxplus801": "ssh -x -l [user] [host]",
    "-rw-r--r--. 1 dqmpro zh 4096 Sep 15": "-rw-r--r--. 1 [user] zh 4096 Sep 15",
    "drwxr-sr-x 12 jdoe jdoe   96 Sep 15": "drwxr-sr-x 12 [user] [user]   96 Sep 15",
    "* subject: OU=Users; CN=jdoe; CN=512345": "* subject: OU=Users; CN=[user]; CN=[user]",
    "cd /home/j/jdoe/x": "cd /home/j/[user]/x",
}


def test_it_replaces_users_and_mail_addresses(redact: Redactor) -> None:
    assert {text: redact(text) for text in USERS} == USERS


USERS_IN_PLACES = {
    "open /tmp/jdoe/x.root '/var/tmp/jdoe2/x'": "open /tmp/[user]/x.root '/var/tmp/[user]/x'",
    "at /build/jdoe/CMSSW_12_4_8/src/x.cc:12": "at /build/[user]/CMSSW_12_4_8/src/x.cc:12",
    "file:///scratch/jdoe/x, x:/tmp/jdoe/x": "file:///scratch/[user]/x, x:/tmp/[user]/x",
    'JSON: "\\n/tmp/jdoe/x", "\\/tmp\\/jdoe\\/x"': 'JSON: "\\n/tmp/[user]/x", "\\/tmp\\/[user]\\/x"',
    "/tmp/pytest-of-jdoe/x /tmp/hsperfdata_jdoe/12": "/tmp/pytest-of-[user]/x /tmp/hsperfdata_[user]/12",
    "\\/tmp\\/tmux-51234/x /uscms_data/d3/jdoe/x": "\\/tmp\\/tmux-[user]/x /uscms_data/d3/[user]/x",
    "From https://github.com/jdoe/cmssw": "From https://github.com/[user]/cmssw",
    "origin git@github.com:jdoe/cmssw.git (fetch)": "origin [email]:[user]/cmssw.git (fetch)",
    "ssh://git@gitlab.cern.ch:7999/jdoe/dqmgui": "ssh://[user]@[host]:7999/[user]/dqmgui",
    "https://gitlab.cern.ch/jdoe/cms-x": "https://[host]/[user]/cms-x",
    "https://api.github.com/repos/jdoe/cmsdist": "https://api.github.com/repos/[user]/cmsdist",
    "Merge pull request #39145 from jdoe/fix": "Merge pull request #39145 from [user]/fix",
    "git cms-merge-topic -u jdoe:fix_12_4_X": "git cms-merge-topic -u [user]:fix_12_4_X",
}


def test_it_replaces_users_in_shared_places(redact: Redactor) -> None:
    assert {text: redact(text) for text in USERS_IN_PLACES} == USERS_IN_PLACES


SECRETS = {
    "password=hunter2": "password=[secret]",
    "PASSWORD : hunter2, retry": "PASSWORD : [secret], retry",
    "(passwd=hunter2) [token=abc].": "(passwd=[secret]) [token=[secret]].",
    "DQM_FFF_SECRET=a,b;c": "DQM_FFF_SECRET=[secret]",
    "password=abc,user=bob;n=1": "password=[secret],user=[user];n=1",
    "https://x/?token=abc&run=358788": "https://x/?token=[secret]&run=358788",
    "password = 'with blanks in it' # why": "password = '[secret]' # why",
    'api_key: "a\\"b c"': 'api_key: "[secret]"',
    "access-key => `x y`": "access-key => `[secret]`",
    "password = cms.untracked.string('hunter 2'),": "password = cms.untracked.string('[secret]'),",
    "token=b'a b', n=1": "token=b'[secret]', n=1",
    "--password hunter2 --run 1": "--password [secret] --run 1",
    "['cmsRun', '--token', 'a b', 'runkey=x']": "['cmsRun', '--token', '[secret]', 'runkey=x']",
    "'runUniqueKey=a32007f9-223a']": "'runUniqueKey=[secret]']",
    "Configured frontierKey a32007f9-223a": "Configured frontierKey [secret]",
    "Authorization: Bearer a.b.c": "Authorization: [secret]",
    "authorization=Basic dXNlcjpw n=1": "authorization=[secret] n=1",
    "Cookie: selenium-secret-secret=a; b=c": "Cookie: [secret]",
    'Cookie: a="x"; b=y': "Cookie: [secret]",
    'Authorization: Digest username="jdoe", realm="dqm", response="6629"': "Authorization: [secret]",
    "b'GET /\\r\\nAuthorization: Basic aHVu\\r\\nAccept: */*'": (
        "b'GET /\\r\\nAuthorization: [secret]\\r\\nAccept: */*'"
    ),
    'curl -H "Cookie: a=b; c=d" https://x': 'curl -H "Cookie: [secret]" https://x',
    '{"cookie": {"a": "b"}, "n": 1}': '{"cookie": [secret], "n": 1}',
    "<password>hunter2</password>": "<password>[secret]</password>",
    "sent bearer abcdef123 along": "sent bearer [secret] along",
    "https://jdoe:p@ss@x.org/": "https://[user]:[secret]@x.org/",
    "https://:p@x.org/ ftp://jdoe@x.org": "https://:[secret]@x.org/ ftp://[user]@x.org",
    "https://jdoe:p/w@x.org/": "https://[user]:[secret]@x.org/",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl": "[secret]",
    "eyJhbGciOiJIUzI1NiJ9." + "abcDEF123-_" * 100 + ".x, done": "[secret], done",
    "AKIAIOSFODNN7EXAMPLE, ghp_" + "a1" * 18: "[secret], [secret]",
    "KRB5CCNAME=FILE:/tmp/krb5cc_51234_x": "KRB5CCNAME=[secret]",
    "ticket /tmp/krb5cc_51234_x is old": "ticket [secret] is old",
    "X509_USER_PROXY=/tmp/x509up_u51234": "X509_USER_PROXY=[secret]",
    "PWD=hunter2 but PWD=/opt/dqm": "PWD=[secret] but PWD=/opt/dqm",
    'password="cut off': 'password="[secret]',
    "cms-authn-hmac: 0a1b2c3d4e5f": "cms-authn-hmac: [secret]",
    'h["Authorization"] = "Bearer " + "a1b2"': 'h["Authorization"] = "[secret]" + "[secret]"',
    'send("Bearer " + "abcdef123")': 'send("Bearer " + "[secret]")',
    'ClaimId = "<10.1.2.3:9>#14#2#[Integrity="YES";]a1b2"': 'ClaimId = "[secret]"',
    "cx_Oracle.connect('CMS_DQM', 'hunter2', 'x')": "cx_Oracle.connect('[user]', '[secret]', 'x')",
    "password            = hunter2": "password            = [secret]",
    "DB_PASSWORD_01=a PASSWORD_CMS_COND_ONLINE=b": (
        "DB_PASSWORD_01=[secret] PASSWORD_CMS_COND_ONLINE=[secret]"
    ),
    "dbpass: a1, DB_PW = b, trustStorePass=c": "dbpass: [secret], DB_PW = [secret], trustStorePass=[secret]",
    "    os.environ['X_PASSWORD'] = 'hunter2'": "    os.environ['X_PASSWORD'] = '[secret]'",
    '    cfg["token"] = "hunter2"': '    cfg["token"] = "[secret]"',
    "    x = config.get('password', 'hunter2')": "    x = config.get('password', '[secret]')",
    '<parameter name="password" value="hunter2"/>': '<parameter name="password" value="[secret]"/>',
    "authToken=a1 'idToken': 'b' \"accessToken\":\"c\"": (
        "authToken=[secret] 'idToken': '[secret]' \"accessToken\":\"[secret]\""
    ),
    "password: hunter2 for the database": "password: [secret] for the database",
    "postgresql:\\/\\/jdoe:hunter2@h\\/x": "postgresql:\\/\\/[user]:[secret]@h\\/x",
    "sqlplus -S CMS_DQM/hunter2@cms_omds_lb": "sqlplus -S [user]/[secret]@cms_omds_lb",
    "as CMS_DQM/hunter2@cms_orcon_adg": "as [user]/[secret]@cms_orcon_adg",
    "as CMS_DQM/hun#ter2@int9r": "as [user]/[secret]@int9r",
    "oracle://CMS_DQM/hunter2@cms_omds_lb": "oracle://[user]/[secret]@cms_omds_lb",
    "user/password: CMS_DQM/hunter2": "user/password: [user]/[secret]",
    "ALTER USER cms_dqm IDENTIFIED BY hunter2": "ALTER USER [user] IDENTIFIED BY [secret]",
    "curl -u jdoe:hunter2 --user jdoe:hunter2": "curl -u [user]:[secret] --user [user]:[secret]",
    "['curl', '-u', 'jdoe:hunter2']": "['curl', '-u', '[user]:[secret]']",
    "CREATE USER jdoe WITH PASSWORD 'hunter2'": "CREATE USER [user] WITH PASSWORD '[secret]'",
    "ALTER ROLE jdoe LOGIN PASSWORD 'hunter2'": "ALTER ROLE [user] LOGIN PASSWORD '[secret]'",
    "machine h login jdoe password hunter2": "machine h login [user] password [secret]",
    "Ticket cache: KEYRING:persistent:51234:x": "Ticket cache: [secret]",
    "?authz=zteos64:MDAwMDAw&x=1": "?authz=[secret]&x=1",
    'ClaimId = "<10.1.2.3:9618>#1662#abc"': 'ClaimId = "[secret]"',
    "setenv CORAL_AUTH_PASSWORD hunter2": "setenv CORAL_AUTH_PASSWORD [secret]",
    "POST /x?db[password]=hunter2&n=1": "POST /x?db[password]=[secret]&n=1",
    "DQM_CR_USERNAMES=admin:hunter2": "DQM_CR_USERNAMES=[user]:[secret]",
    "get(url, auth=('jdoe', 'hunter2'))": "get(url, auth=('[user]', '[secret]'))",
    "HTTPBasicAuth('jdoe','hunter2')": "HTTPBasicAuth('[user]','[secret]')",
    "jdbc:oracle:thin:CMS_DQM/hunter2@//h:1/x": "jdbc:oracle:thin:[user]/[secret]@//h:1/x",
    "sshpass -p hunter2 ssh root@fu-c2f11-11-01": "sshpass -p [secret] ssh [user]@[host]",
    "mysql -u jdoe -phunter2 dqm": "mysql -u [user] -p[secret] dqm",
    "mysqldump -p'hunter2' dqm": "mysqldump -p'[secret]' dqm",
    "sent Basic amRvZTpodW50ZXIy": "sent Basic [secret]",
    "wrong password 'hunter2' of the account": "wrong password '[secret]' of the account",
    'passphrase "hunter2".': 'passphrase "[secret]".',
    "?X-Amz-Signature=0a1b2c&x=1": "?X-Amz-Signature=[secret]&x=1",
    "csrfmiddlewaretoken=a1b2c3": "csrfmiddlewaretoken=[secret]",
    'secret = "two\nlines", n=1': 'secret = "[secret]", n=1',
    'password="cut off\nls = "streamDQM"': 'password="[secret]\nls = "streamDQM"',
}


def test_it_replaces_secrets(redact: Redactor) -> None:
    assert {text: redact(text) for text in SECRETS} == SECRETS


USERS_IN_MESSAGES = {
    "Accepted publickey for jdoe from 10.1.2.3 port 5": "Accepted publickey for [user] from [ip] port 5",
    "Failed password for invalid user jdoe from x": "Failed password for invalid user [user] from x",
    "Invalid user jdoe from 10.1.2.3": "Invalid user [user] from [ip]",
    "by authenticating user jdoe 10.1.2.3 port 22": "by authenticating user [user] [ip] port 22",
    "session opened for user jdoe(uid=51234)": "session opened for user [user](uid=[user])",
    "Started Session 12 of user jdoe.": "Started Session 12 of user [user].",
    "Started User Manager for UID 51234.": "Started User Manager for UID [user].",
    "user-51234.slice: Consumed 1.2s": "user-[user].slice: Consumed 1.2s",
    "user@51234.service: Succeeded.": "user@[user].service: Succeeded.",
    "Running job as user jdoe": "Running job as user [user]",
    "for user: jdoe (uid 51234), x": "for user: [user] (uid [user]), x",
    "IPv4 login as jdoe": "IPv4 login as [user]",
    "Authenticating to [host]:22 as 'jdoe'": "Authenticating to [host]:22 as '[user]'",
    "sudo:   jdoe : TTY=pts/0 ; USER=root": "sudo:   [user] : TTY=pts/0 ; USER=[user]",
    "jdoe is not in the sudoers file.": "[user] is not in the sudoers file.",
    "Sorry, user jdoe is not allowed to": "Sorry, user [user] is not allowed to",
    "[sudo] password for jdoe: ": "[sudo] password for [user]: ",
    "su: user jdoe does not exist": "su: user [user] does not exist",
    "id: ‘jdoe’: no such user": "id: ‘[user]’: no such user",
    "user jdoe logged in from x": "user [user] logged in from x",
    "10.1.2.3 - jdoe [15/Sep/2022:10:11:12 +0200]": "[ip] - [user] [15/Sep/2022:10:11:12 +0200]",
    "User's (AFS ID 51234) tokens": "User's (AFS ID [user]) tokens",
    'AccountingGroup = "group_u_CMS.u_zh.jdoe"': 'AccountingGroup = "group_u_CMS.u_zh.[user]"',
    "<user>jdoe</user>": "<user>[user]</user>",
    "-rw-------   1 51234 1399 123 Sep 15 x": "-rw-------   1 [user] 1399 123 Sep 15 x",
    "kinit -k -t /etc/dqm.keytab jdoe": "kinit -k -t /etc/dqm.keytab [user]",
    "klog.krb5 -principal jdoe -cell x": "klog.krb5 -principal [user] -cell x",
    "psql -h localhost -U jdoe dqm": "psql -h localhost -U [user] dqm",
    "h CRON[123]: (jdoe) CMD (/opt/dqm/run.sh)": "h CRON[123]: ([user]) CMD (/opt/dqm/run.sh)",
    "h crontab[1]: (root) REPLACE (jdoe)": "h crontab[1]: ([user]) REPLACE ([user])",
    "h crond[1]: (CRON) INFO (running)": "h crond[1]: (CRON) INFO (running)",
    "h su[12]: FAILED SU (to root) jdoe on pts/0": "h su[12]: FAILED SU (to [user]) [user] on pts/0",
    "h su: + /dev/pts/0 jdoe:root": "h su: + /dev/pts/0 [user]:[user]",
    "h su[12]: Successful su for root by jdoe": "h su[12]: Successful su for [user] by [user]",
    "sudo: jdoe : command not allowed ; TTY=pts/0": "sudo: [user] : command not allowed ; TTY=pts/0",
    "Disconnected from user jdoe 10.1.2.3 port 5": "Disconnected from user [user] [ip] port 5",
    "Authorized to jdoe, krb5 principal x": "Authorized to [user], krb5 principal x",
    "Starting session: shell on pts/0 for jdoe from x": "Starting session: shell on pts/0 for [user] from x",
    'auid=51234 acct="jdoe" fsuid=51234': 'auid=[user] acct="[user]" fsuid=[user]',
    "new user: name=jdoe, UID=51234": "new user: name=[user], UID=[user]",
    "received for user jdoe: 17 (Failure)": "received for user [user]: 17 (Failure)",
    "chown -R jdoe:zh /data/x; chown jdoe /x": "chown -R [user]:zh /data/x; chown [user] /x",
    "kinit jdoe": "kinit [user]",
    "getent passwd jdoe": "getent passwd [user]",
    "pgrep -u jdoe cmsRun; ps -fu jdoe": "pgrep -u [user] cmsRun; ps -fu [user]",
    "crontab -u jdoe -l": "crontab -u [user] -l",
    "/afs/desy.de/user/j/jdoe/x /home/users/jdoe": "/afs/desy.de/user/j/[user]/x /home/users/[user]",
    "cd ~jdoe/src, https://x.org/~jdoe/x": "cd ~[user]/src, https://x.org/~[user]/x",
    "Author: John Doe <jdoe@example.org>": "Author: [user] <[email]>",
    "Signed-off-by: John Doe <jdoe@example.org>": "Signed-off-by: [user] <[email]>",
    "Co-authored-by: John Doe <jdoe@example.org>": "Co-authored-by: [user] <[email]>",
    "/var/spool/cron/jdoe /data/user/jdoe/x.py": "/var/spool/cron/[user] /data/user/[user]/x.py",
    "dn: cn=jdoe,ou=Users,dc=cern,dc=ch": "dn: cn=[user],ou=Users,dc=cern,dc=ch",
    "memberUid: jdoe": "memberUid: [user]",
    "setenv LOGNAME jdoe": "setenv LOGNAME [user]",
    "KeyError: getpwuid(): uid not found: 51234": "KeyError: getpwuid(): uid not found: [user]",
    "KeyError: \"getpwnam(): name not found: 'jdoe'\"": "KeyError: \"getpwnam(): name not found: '[user]'\"",
    "Process 12 (cmsRun) of user 51234 dumped core": "Process 12 (cmsRun) of user [user] dumped core",
    "main zh 1 CANCELLED by 51234 0:0": "main zh 1 CANCELLED by [user] 0:0",
    "UserId=jdoe(51234) GroupId=zh(1399)": "UserId=[user] GroupId=zh(1399)",
    "Job submitted by jdoe at 13:07": "Job submitted by [user] at 13:07",
    "Submitted by: jdoe": "Submitted by: [user]",
    "Requested by: John Doe, approved by John M. Doe.": "Requested by: [user], approved by [user].",
    "Last modified by jdoe on 2022-09-15": "Last modified by [user] on 2022-09-15",
    "Started by user John Doe": "Started by user [user]",
    "    owned by: jdoe   dated: Thu Sep 15": "    owned by: [user]   dated: Thu Sep 15",
    "    user name: jdoe   host name: x": "    user name: [user]   host name: x",
    "// $Author: jdoe $": "// $Author: [user] $",
    "attribute : nickname = jdoe (cms)": "attribute : nickname = [user] (cms)",
    "ZKM: successful mapping to jdoe": "ZKM: successful mapping to [user]",
    "X-Frontier-Id: cmsRun 12345 jdoe(51234) John Doe": "X-Frontier-Id: cmsRun 12345 [user] [user]",
    "frontier-id: CMSSW_12_4_8 2.9.1 12 jdoe(51234) John Doe via: 1.0 squid7:8000 (squid/4) x": (
        "frontier-id: CMSSW_12_4_8 2.9.1 12 [user] [user] via: 1.0 squid7:8000 (squid/4) x"
    ),
    "ZKM: 1: attempting to map 'jdoe'": "ZKM: 1: attempting to map '[user]'",
    "ZKM: found user jdoe, splitting.": "ZKM: found user [user], splitting.",
    "ZKM: did not find user jdoe.": "ZKM: did not find user [user].",
    "AUTHENTICATION: post-map: current user is 'jdoe'": "AUTHENTICATION: post-map: current user is '[user]'",
    "crash.swp owned by: jdoe@db": "crash.swp owned by: [user]@db",
    "ZKM: successful mapping to jdoe@x.org": "ZKM: successful mapping to [email]",
    'uid=51234 gid=1399 name=jdoe geo="" xt="" ob="asmith"': (
        'uid=[user] gid=1399 name=[user] geo="" xt="" ob="[user]"'
    ),
    "Virtual Identity: uid=51234 (51234,99) gid=1399 (1399)": (
        "Virtual Identity: uid=[user] ([user]) gid=1399 (1399)"
    ),
    "uids=51234,99 gid=1399 gids=99": "uids=[user] gid=1399 gids=99",
    "&td=jdoe.12:52@pc7&sec.name=jdoe&sec.host=pc7": "&td=[user]@[host]&sec.name=[user]&sec.host=[host]",
    "&mgm.sec=krb5|jdoe|pc7||zh&x": "&mgm.sec=krb5|[user]|[host]||zh&x",
    "RUCIO_ACCOUNT=jdoe; by unix-user:jdoe": "RUCIO_ACCOUNT=[user]; by unix-user:[user]",
    "sshd: jdoe [priv], sshd: jdoe@pts/0": "sshd: [user] [priv], sshd: [user]@pts/0",
    "XrootdXeq: jdoe.4066:39@data pvt": "XrootdXeq: [user]@[host] pvt",
    "XrootdXeq: jdoe.4066:39@[::ffff:10.1.2.3] disc": "XrootdXeq: [user]@[[ip]] disc",
    'sec=krb5 uid=51234 gid=1399 name=jdoe geo=""': 'sec=krb5 uid=[user] gid=1399 name=[user] geo=""',
    "condor_q jdoe; condor_q -submitter jdoe": "condor_q [user]; condor_q -submitter [user]",
    "squeue -u jdoe; killall -u jdoe cmsRun": "squeue -u [user]; killall -u [user] cmsRun",
    'Good signature from "John Doe <jdoe@x.org>"': 'Good signature from "[user] <[email]>"',
    "uid [ultimate] Jan van der Doe (x) <j@x.org>": "uid [ultimate] [user] (x) <[email]>",
    "Commit:     John Doe <jdoe@x.org>": "Commit:     [user] <[email]>",
    "?client_id=x&login_hint=jdoe": "?client_id=x&login_hint=[user]",
}


def test_it_replaces_users_in_messages_of_programs(redact: Redactor) -> None:
    assert {text: redact(text) for text in USERS_IN_MESSAGES} == USERS_IN_MESSAGES


USERS_IN_TABLES = {
    "jdoe    12345  0.3  1.2 1234 789 ?        Sl   Sep15 12:34 cmsRun": (
        "[user]    12345  0.3  1.2 1234 789 ?        Sl   Sep15 12:34 cmsRun"
    ),
    "jdoe   12345   1  0 13:07 pts/0    00:00:12 x": "[user]   12345   1  0 13:07 pts/0    00:00:12 x",
    "jd.long+ 12345 12340 99 Sep15 ?  01:00:12 x": "[user] 12345 12340 99 Sep15 ?  01:00:12 x",
    "4 S 51234  1234 12  0  80   0 - 12345 do_wai 13:07 pts/0 0:00 x": (
        "4 S [user]  1234 12  0  80   0 - 12345 do_wai 13:07 pts/0 0:00 x"
    ),
    "0 S jdoe  123 12  0  80   0 -  2 -   ?  0:00 x": "0 S [user]  123 12  0  80   0 -  2 -   ?  0:00 x",
    "ps: 'jdoe 12345 0.3 1.2 1234 789 tty1 S'": "ps: '[user] 12345 0.3 1.2 1234 789 tty1 S'",
    " 12345 jdoe  20   0  123456  78900 12345 S  99.7  1.2   1:23.45 cmsRun": (
        " 12345 [user]  20   0  123456  78900 12345 S  99.7  1.2   1:23.45 cmsRun"
    ),
    "12345 jdoe rt -20 12.3g 1.2g  12m R 399.7 12.5 123:45.67 x": (
        "12345 [user] rt -20 12.3g 1.2g  12m R 399.7 12.5 123:45.67 x"
    ),
    "cmsRun    12345     jdoe  cwd    DIR   0,40   4096   2 /tmp": (
        "cmsRun    12345     [user]  cwd    DIR   0,40   4096   2 /tmp"
    ),
    "cmsRun 12345 12346 tbb jdoe   12u  IPv4 123  0t0 TCP *:9215": (
        "cmsRun 12345 12346 tbb [user]   12u  IPv4 123  0t0 TCP *:9215"
    ),
    "jdoe     pts/0   10.1.2.3   Thu Sep 15 13:07   still logged in": (
        "[user]     pts/0   [ip]   Thu Sep 15 13:07   still logged in"
    ),
    "jdoe  tty1       Thu Sep 15 13:07 - down": "[user]  tty1       Thu Sep 15 13:07 - down",
    "jdoe     pts/0        2022-09-15 13:07 (:0)": "[user]     pts/0        2022-09-15 13:07 (:0)",
    "jdoe  pts/1  :0  Thu13  2days 0.12s 0.05s vim x": "[user]  pts/1  :0  Thu13  2days 0.12s 0.05s vim x",
    "jdoe  pts/1  laptop7.example.org  13:07  1:00m 0.12s x": (
        "[user]  pts/1  laptop7.example.org  13:07  1:00m 0.12s x"
    ),
    "jdoe      --  1234  200000  250000  12   0   0": "[user]      --  1234  200000  250000  12   0   0",
    "jdoe      +-  1234  2000  2500  6days  12  0  0": "[user]      +-  1234  2000  2500  6days  12  0  0",
    "jdoe   ID: 1234   9/15 13:07   _   1  1  1 1.0": "[user]   ID: 1234   9/15 13:07   _   1  1  1 1.0",
    "jdoe   cmsRun  9/15 13:07   _   1  1  1 1.0": "[user]   cmsRun  9/15 13:07   _   1  1  1 1.0",
    "123.0   jdoe    9/15 13:07   0+00:12:34 R  0 x": "123.0   [user]    9/15 13:07   0+00:12:34 R  0 x",
    "Total for jdoe: 12 jobs; 0 completed": "Total for [user]: 12 jobs; 0 completed",
    "jdoe:x:51234:1399:John Doe,,,:/home/jdoe:/bin/sh": "[user]:x:[user]:1399:[user]:/home/[user]:/bin/sh",
    "jdoe:*:51234:1399::/afs/cern.ch/user/j/jdoe:/bin/sh": (
        "[user]:*:[user]:1399::/afs/cern.ch/user/j/[user]:/bin/sh"
    ),
    "zh:x:1399:jdoe,asmith": "zh:x:1399:[user]",
    "jdoe:x:1400:": "[user]:x:1400:",
    "audio:x:29:": "audio:x:29:",
    "jdoe:$6$abcdEFGH$" + "0aB./" * 9 + ":19000:0": "[user]:[secret]:19000:0",
    "uid=51234(jdoe) gid=1399(zh) groups=1399(zh),1400(jdoe)": (
        "uid=[user] gid=1399(zh) groups=1399(zh),1400([user])"
    ),
    "Access: (0644/-rw-r--r--)  Uid: (51234/    jdoe)": "Access: (0644/-rw-r--r--)  Uid: ([user]/    [user])",
    "-rw-r--r-- jdoe/zh  4096 2022-09-15 13:07 x": "-rw-r--r-- [user]/zh  4096 2022-09-15 13:07 x",
    "   32663081 gpu-share hello_cu     jdoe PD       0:00      1 (Resources)": (
        "   32663081 gpu-share hello_cu     [user] PD       0:00      1 (Resources)"
    ),
    "  1785502_3     v3_64 my job     jdoe  R 2-02:03:08      1 c3703": (
        "  1785502_3     v3_64 my job     [user]  R 2-02:03:08      1 c3703"
    ),
    "12 main cmsRun jdoe RUNNING 1:19:05 1-00:00:00 1": "12 main cmsRun [user] RUNNING 1:19:05 1-00:00:00 1",
    "tcp   0  0 10.1.2.3:53312  10.1.2.4:9215  ESTABLISHED jdoe       1234567    12345/cmsRun": (
        "tcp   0  0 [ip]:53312  [ip]:9215  ESTABLISHED [user]       1234567    12345/cmsRun"
    ),
    "tcp6  0  0 :::22   :::*   LISTEN      51234      23456      -": (
        "tcp6  0  0 :::22   :::*   LISTEN      [user]      23456      -"
    ),
    "udp   0  0 0.0.0.0:68   0.0.0.0:*                           jdoe       23456": (
        "udp   0  0 [ip]:68   [ip]:*                           [user]       23456"
    ),
    "r1234 | jdoe | 2022-09-15 13:07:01 +0200 (Thu, 15 Sep 2022) | 3 lines": (
        "r1234 | [user] | 2022-09-15 13:07:01 +0200 (Thu, 15 Sep 2022) | 3 lines"
    ),
    "$Id: x.cc,v 1.12 2010/03/04 12:12:12 jdoe Exp $": "$Id: x.cc,v 1.12 2010/03/04 12:12:12 [user] Exp $",
}


def test_it_replaces_users_in_tables_of_programs(redact: Redactor) -> None:
    assert {text: redact(text) for text in USERS_IN_TABLES} == USERS_IN_TABLES


def test_it_replaces_users_in_every_line_of_a_table(redact: Redactor) -> None:
    for line, expected in USERS_IN_TABLES.items():
        assert redact(f"before\n{line}\n{line}\nafter") == f"before\n{expected}\n{expected}\nafter"


VALUES_LIKE_CODE = {
    "password = config.get('password', 'hunter2')": "password = config.get('password', '[secret]')",
    'password = decrypt("hunter2")': 'password = decrypt("[secret]")',
    "password == hunter2, token == 'a1b2c3'": "password == [secret], token == '[secret]'",
    'Owner == "jdoe", user == jdoe': 'Owner == "[user]", user == [user]',
    "password=$ecret1 PWD={hunter} password=$ecret": "password=[secret] PWD=[secret] password=[secret]",
    "self.token = tokens.abc; password = password1": "self.token = [secret]; password = [secret]",
    "pwd == tiger, TOKEN==a1b2": "pwd == [secret], TOKEN==[secret]",
    'pwd="1234" cookie="1234"': 'pwd="[secret]" cookie="[secret]"',
    '[ "$USER" == "jdoe" ]': '[ "$USER" == "[user]" ]',
    "x['user'] == 'jdoe', \"owner\" == jdoe": "x['user'] == '[user]', \"owner\" == [user]",
    "user=user.jdoe, login=logins.jdoe": "user=[user], login=[user]",
    "ALTER USER x IDENTIFIED BY Secret DEFAULT y": "ALTER USER [user] IDENTIFIED BY [secret] DEFAULT y",
    "approved by John Doe, Requested by: Jane Poole": "approved by [user], Requested by: [user]",
    "/tmp/redwards/x /tmp/ptoole/x /tmp/storey/x": "/tmp/[user]/x /tmp/[user]/x /tmp/[user]/x",
}


def test_it_replaces_values_that_resemble_code_or_ordinary_words(redact: Redactor) -> None:
    assert {text: redact(text) for text in VALUES_LIKE_CODE} == VALUES_LIKE_CODE


# Passwords that begin or end as a fact, source code or a variable does.
PASSWORDS_LIKE_CODE = (
    *("ok-s3c9", "disabled'x9", "no'body123", "!'s3c9", "hunter[12]", "svc.dqm.passw0rd", "$ABC&x9", "$ABCx"),
    *("%s9abc", "{}abc9", "stdin9x", "List[x9", "password,x9", "password;x9", "password}x9", "typing.x9"),
    *("user.name9", "get('x9"),
)
LINES_WITH_PASSWORD = ("password={}", '"password": "{}"', 'x password = "{}" y', "--token={}", "TOKEN: {} x")


@pytest.mark.parametrize("password", PASSWORDS_LIKE_CODE)
def test_it_replaces_passwords_that_resemble_code(redact: Redactor, password: str) -> None:
    redacted = [redact(line.format(password)) for line in LINES_WITH_PASSWORD]
    assert [text for text in redacted if password[-4:] in text] == []


@pytest.mark.parametrize(
    "password", ["S3cr(etXY9", "Abc<Def9", "f(x9y8", "Hunter[12]", "self.x9y8", *PASSWORDS_LIKE_CODE]
)
def test_it_replaces_options_that_resemble_code(redact: Redactor, password: str) -> None:
    assert password[-4:] not in redact(f"x --password {password} y")


@pytest.mark.parametrize("token", ["a8f3e2d1c4b5a697", "eQzYkLmWpRt", "'a8f3e2d1'"])
@pytest.mark.parametrize("line", ["unexpected token: {}", "expected session_token: {}", "token == {}"])
def test_it_replaces_tokens_that_a_parser_does_not_know(redact: Redactor, line: str, token: str) -> None:
    assert redact(line.format(token)) == line.format(token.replace(token.strip("'"), "[secret]"))


@pytest.mark.parametrize("name", ["scott", '"scott"'])
@pytest.mark.parametrize(
    "statement",
    [
        "create user {} identified by {} default tablespace users",
        "alter user {} identified by {} account unlock",
        "create role {} identified by {}",
        "grant connect to {} identified by {} with admin option",
    ],
)
def test_it_replaces_accounts_of_statements_in_any_case(redact: Redactor, statement: str, name: str) -> None:
    for case in (str.lower, str.upper):
        redacted = redact(case(statement).format(name, "tiger"))
        assert "tiger" not in redacted
        assert "scott" not in redacted or name != "scott"


KEY_DATA = "LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQpNSUlFb3dJQkFBS0NBUUVB"
BASIC = "amRvZTpodW50ZXIy"


SECRETS_OF_COMMANDS = {
    "docker login -u jdoe -p hunter2 x": "docker login -u [user] -p [secret] x",
    "podman login -u 'jdoe' -p 'hun ter2' x": "podman login -u '[user]' -p '[secret]' x",
    "ldapsearch -x -D dc=x -w hunter2 uid": "ldapsearch -x -D dc=x -w [secret] uid",
    "ipmitool -H x -U ADMIN -P hunter2 power": "ipmitool -H x -U [user] -P [secret] power",
    "smbclient //x/y -U jdoe%hunter2": "smbclient //x/y -U [user]%[secret]",
    "curl -ujdoe:hunter2 x": "curl -u[user]:[secret] x",
    "curl -sSu jdoe:hunter2 x": "curl -sSu [user]:[secret] x",
    "{'auth': ('jdoe', 'hunter2')}": "{'auth': ('[user]', '[secret]')}",
    f'{{"auths":{{"x":{{"auth":"{BASIC}"}}}}}}': '{"auths":{"x":{"auth":"[secret]"}}}',
    '[{"name":"DB_PASSWORD","value":"hunter2"}]': '[{"name":"DB_PASSWORD","value":"[secret]"}]',
    "- name: DB_PASSWORD\n  value: hunter2\n": "- name: DB_PASSWORD\n  value: [secret]\n",
    f"client-key-data: {KEY_DATA}\nx": "client-key-data: [secret]\nx",
    f"{KEY_DATA}\n{KEY_DATA[::-1]}\nQUJD=\nend": "[secret]\nend",
    "$6$abcdEFGH$" + "0aB./" * 9 + ":19000": "[secret]:19000",
    "pbkdf2:sha256:260000$abcdefgh$" + "0a" * 16: "[secret]",
    "https://x/k?E=1&Signature=vjbyPxybdZaNmGa%2B&n=1": "https://x/k?E=1&Signature=[secret]&n=1",
    "MIT-MAGIC-COOKIE-1  " + "0a" * 16: "MIT-MAGIC-COOKIE-1  [secret]",
    "https://x/bot123456789:" + "AAHdqTcvCH1vG-Jx_eSofSAs0K5PALDsaw/send": "https://x/[secret]/send",
    "MDAxY2xvY2F0aW9uIGNtcwowMDM0aWRlbnRpZmllciA": "[secret]",
    "Password is hunter2, using password hunter2.": "Password is [secret], using password [secret].",
    "setenv x; set PASSWORD hunter2": "setenv x; set PASSWORD [secret]",
    "--password = hunter2 \\n--password 'x y'": "--password = [secret] \\n--password '[secret]'",
    "--token-password 'hun ter2'": "--token-password '[secret]'",
    "mysql -u jdoe -phunter dqm": "mysql -u [user] -p[secret] dqm",
    "mysqldump -h x -pSuperPw dqm > x": "mysqldump -h x -p[secret] dqm > x",
    'mysql -e "SELECT 1; SELECT 2" -pabcd x': 'mysql -e "SELECT 1; SELECT 2" -p[secret] x',
    "docker login -u AWS -p " + "Ab1-" * 60 + " r": "docker login -u [user] -p [secret] r",
    "ldapsearch " + "a=bcd " * 40 + "-w hunter2word": "ldapsearch " + "a=bcd " * 40 + "-w [secret]",
    'ldapsearch -w hunter"2 x': "ldapsearch -w [secret] x",
    "localhost:5432:dqm:jdoe:hunter2": "localhost:5432:dqm:[user]:[secret]",
    "*:*:*:jdoe:hun\\:ter2": "*:*:*:[user]:[secret]",
    "fu-c2f11-11-01.cms:6603:dqm:jdoe:hunter2": "[host]:6603:dqm:[user]:[secret]",
    "snmpwalk -v2c -c hunter2 x": "snmpwalk -v2c -c [secret] x",
    "snmpget -v3 -u jdoe -A hunter2 -X hunter2 x": "snmpget -v3 -u [user] -A [secret] -X [secret] x",
    "curl -b 'session=hunter2; a=b' x": "curl -b '[secret]' x",
    "curl -s -b a=hunter2 x; curl -b jar.txt x": "curl -s -b [secret] x; curl -b jar.txt x",
    "redis-cli -h x -a hunter2 ping": "redis-cli -h x -a [secret] ping",
    "mongosh -u jdoe -p hunter2": "mongosh -u [user] -p [secret]",
    "sqlcmd -U jdoe -P hunter2; cqlsh -u jdoe -p hunter2": (
        "sqlcmd -U [user] -P [secret]; cqlsh -u [user] -p [secret]"
    ),
    "lftp -u jdoe,hunter2 x.org": "lftp -u [user],[secret] x.org",
    "zip -r -P hunter2 x.zip y; unzip -Phunter x.zip": "zip -r -P [secret] x.zip y; unzip -P[secret] x.zip",
    "7z x -phunter2 x.7z; 7za a -tzip -p'hun ter' x": "7z x -p[secret] x.7z; 7za a -tzip -p'[secret]' x",
    "htpasswd -b /etc/x jdoe hunter2": "htpasswd -b /etc/x [user] [secret]",
    "htpasswd -nbB jdoe 'hun ter2'": "htpasswd -nbB [user] '[secret]'",
    "htpasswd -cb -C 10 x jdoe hunter2": "htpasswd -cb -C 10 x [user] [secret]",
    "echo hunter2 | sudo -S ls": "echo [secret] | sudo -S ls",
    "echo -n 'hun ter2' |sudo -k -S -p '' ls": "echo -n '[secret]' |sudo -k -S -p '' ls",
    "printf '%s\\n' hunter2 | /usr/bin/kinit": "printf '%s\\n' [secret] | /usr/bin/kinit",
    'echo "jdoe:hunter2" | chpasswd': 'echo "[user]:[secret]" | chpasswd',
    "echo hunter2 | passwd --stdin jdoe": "echo [secret] | passwd --stdin [user]",
    "echo hunter2 | docker login -u jdoe --password-stdin": (
        "echo [secret] | docker login -u [user] --password-stdin"
    ),
    "['sshpass', '-p', 'hunter2', 'ssh']": "['sshpass', '-p', '[secret]', 'ssh']",
}


def test_it_replaces_secrets_of_commands_and_dumps(redact: Redactor) -> None:
    assert {text: redact(text) for text in SECRETS_OF_COMMANDS} == SECRETS_OF_COMMANDS


ARGUMENTS_OF_COMMANDS = {
    "curl -E /x/c.pem:hunter2 x; curl -sE c.pem x": "curl -E /x/c.pem:[secret] x; curl -sE c.pem x",
    "curl --cert 'my c.p12:hunter2' --proxy-cert c:hunter2 x": (
        "curl --cert 'my c.p12:[secret]' --proxy-cert c:[secret] x"
    ),
    "curl -x jdoe:hunter2@pc7:3128 x": "curl -x [user]:[secret]@pc7:3128 x",
    "curl --proxy jdoe:hunter2@pc7 --proxy-user jdoe:hunter2 x": (
        "curl --proxy [user]:[secret]@pc7 --proxy-user [user]:[secret] x"
    ),
    "ncat --proxy-auth jdoe:hunter2 x 80": "ncat --proxy-auth [user]:[secret] x 80",
    "sudo -S ls <<< hunter2": "sudo -S ls <<< [secret]",
    "kinit jdoe <<<'hunter2'": "kinit [user] <<<'[secret]'",
    'chpasswd <<< "jdoe:hunter2"': 'chpasswd <<< "[user]:[secret]"',
    "passwd --stdin jdoe <<< hunter2": "passwd --stdin [user] <<< [secret]",
    "docker login --password-stdin <<< 'a b'": "docker login --password-stdin <<< '[secret]'",
    "openssl enc -aes256 -pass stdin -in x <<< hunter2": "openssl enc -aes256 -pass stdin -in x <<< [secret]",
    "openssl enc -aes256 -k hunter2 -in x": "openssl enc -aes256 -k [secret] -in x",
    "rabbitmqctl add_user jdoe hunter2": "rabbitmqctl add_user [user] [secret]",
    "rabbitmqctl --node rabbit change_password jdoe 'hunter2'": (
        "rabbitmqctl --node rabbit change_password [user] '[secret]'"
    ),
    'rabbitmqctl set_permissions -p / jdoe ".*"': 'rabbitmqctl set_permissions -p / [user] ".*"',
    "xfreerdp /u:jdoe /p:hunter2 /v:x": "xfreerdp /u:[user] /p:[secret] /v:x",
    "xfreerdp '/u:jdoe' '/gp:hunter2' /pth:0a1b": "xfreerdp '/u:[user]' '/gp:[secret]' /pth:[secret]",
    "net use x /user:jdoe hunter2": "net use x /user:[user] [secret]",
    "net use x hunter2 /user:jdoe": "net use x [secret] /user:[user]",
    "rdesktop -u jdoe -p hunter2 x": "rdesktop -u [user] -p [secret] x",
    "xfreerdp /u:'jdoe' /p:x9y8": "xfreerdp /u:'[user]' /p:[secret]",
    'runas /user:"CERN\\jdoe" x': 'runas /user:"[user]" x',
    'net use x /user:"CERN\\jdoe" hunter2': 'net use x /user:"[user]" [secret]',
    "curl -E '/x/a b.pem:hunter2' x": "curl -E '/x/a b.pem:[secret]' x",
    "curl --cert '/x/a.pem:hunter2 3' x": "curl --cert '/x/a.pem:[secret]' x",
    "curl -E /x/a\\ b.pem:hunter2 x": "curl -E /x/a\\ b.pem:[secret] x",
    "useradd jdoe -m -s x; usermod jdoe -p hunter2": "useradd [user] -m -s x; usermod [user] -p [secret]",
    "gpasswd -a jdoe wheel": "gpasswd -a [user] wheel",
    "useradd twice, userdel failed": "useradd twice, userdel failed",
    "adduser completed": "adduser completed",
    "useradd twice": "useradd twice",
    "userdel failed": "userdel failed",
    "setfacl -m u:jdoe:rwx,user:asmith:r x": "setfacl -m u:[user]:rwx,user:[user]:r x",
    "setfacl -x u:jdoe x": "setfacl -x u:[user] x",
    "default:user:jdoe:r-x # owner: jdoe": "default:user:[user]:r-x # owner: [user]",
    'sys.acl="u:jdoe:rwx,egroup:dqm:rx,u:51234:!w"': 'sys.acl="u:[user]:rwx,egroup:dqm:rx,u:[user]:!w"',
    "fs setacl -dir /afs/x -acl jdoe rl": "fs setacl -dir /afs/x -acl [user] rl",
    "  jdoe rlidwka\n  system:anyuser rl": "  [user] rlidwka\n  system:anyuser rl",
    "ssh-keygen -t rsa -N hunter2 -P hunter3": "ssh-keygen -t rsa -N [secret] -P [secret]",
    "useradd -m -G zh -p hunter2 jdoe": "useradd -m -G zh -p [secret] [user]",
    "userdel -r jdoe; adduser jdoe": "userdel -r [user]; adduser [user]",
    "aws configure set aws_secret_access_key hunter2": "aws configure set aws_secret_access_key [secret]",
    "vault login s.hunter2hunter2": "vault login [secret]",
    "wpa_passphrase net hunter2": "wpa_passphrase net [secret]",
    "rman target jdoe/hunter2@db; impdp jdoe/hunter2 x=y": (
        "rman target [user]/[secret]@db; impdp [user]/[secret] x=y"
    ),
    "7zz x -phunter2 x; rar a -phunter2 x": "7zz x -p[secret] x; rar a -p[secret] x",
    "ncftpget -u jdoe -p hunter2 h; beeline -n jdoe -p hunter2": (
        "ncftpget -u [user] -p [secret] h; beeline -n [user] -p [secret]"
    ),
    "smtp.login('jdoe', 'hunter2'), db.auth(\"jdoe\", \"hunter2\")": (
        "smtp.login('[user]', '[secret]'), db.auth(\"[user]\", \"[secret]\")"
    ),
    "GRANT SELECT ON x TO jdoe IDENTIFIED BY hunter2": "GRANT SELECT ON x TO [user] IDENTIFIED BY [secret]",
}


def test_it_replaces_arguments_of_commands(redact: Redactor) -> None:
    assert {text: redact(text) for text in ARGUMENTS_OF_COMMANDS} == ARGUMENTS_OF_COMMANDS


# `{}` is a place between the name of a command and what its rule replaces.
COMMANDS_WITH_MORE = {
    "xfreerdp /v:{} /u:jdoe /p:hunter2": "xfreerdp /v:{} /u:[user] /p:[secret]",
    "mstsc /v:{} /u:jdoe": "mstsc /v:{} /u:[user]",
    "rabbitmqctl -n {} add_user jdoe hunter2": "rabbitmqctl -n {} add_user [user] [secret]",
    "net use \\\\{}/ /user:jdoe hunter2": "net use \\\\{}/ /user:[user] [secret]",
    "wpa_passphrase 'x {}' hunter2": "wpa_passphrase 'x {}' [secret]",
    "useradd -d {} -p hunter2 jdoe": "useradd -d {} -p [secret] [user]",
    "fs sa {} jdoe rl": "fs sa {} [user] rl",
    "setfacl -R {} -m u:jdoe:r": "setfacl -R {} -m u:[user]:r",
    "sudo -S ls {} <<< hunter2": "sudo -S ls {} <<< [secret]",
    "curl -E {}:hunter2 x": "curl -E {}:[secret] x",
    "curl --cert {}:hunter2 x": "curl --cert {}:[secret] x",
    "curl --cert '{}:hunter2' x": "curl --cert '{}:[secret]' x",
}
MORE = {
    "srv-c2a11-43-01.cms": "[host]",
    "10.176.1.2": "[ip]",
    "/home/jdoe/x": "/home/[user]/x",
    "/afs/cern.ch/user/j/jdoe/x": "/afs/cern.ch/user/j/[user]/x",
    "asmith@srv-c2a11-43-01": "[user]@[host]",
}


@pytest.mark.parametrize(("command", "expected"), COMMANDS_WITH_MORE.items())
def test_it_replaces_what_is_between_a_command_and_its_arguments(
    redact: Redactor, command: str, expected: str
) -> None:
    redacted = {more: redact(command.format(more)) for more in MORE}
    assert redacted == {more: expected.format(placeholder) for more, placeholder in MORE.items()}


WORDS_OF_SECRETS = (
    *("password", "passwd", "passphrase", "pwd", "secret", "token", "cookie", "authorization", "credential"),
    *("krb5ccname", "session_id", "sessionid", "secret_id", "credentials", "token2"),
    *(f"{kind}{joint}key" for joint in ("", "_", "-") for kind in ("api", "access", "private", "session")),
    *(f"{kind}_key" for kind in ("signing", "encryption", "ssh", "auth", "unique", "frontier")),
)


def test_it_knows_the_words_of_secrets(redact: Redactor) -> None:
    for word in WORDS_OF_SECRETS:
        for text in (f"{word}=", f"DQM_{word.upper()} := ", f'"{word}": "', f"--{word} "):
            assert redact(f"{text}hunter2") == f"{text}[secret]"


@pytest.mark.parametrize("word", ["user", "username", "user_name", "userid", "user-id", "login", "logname"])
def test_it_knows_the_words_of_users(redact: Redactor, word: str) -> None:
    for text in (f"{word}=", f"{word.upper()} := ", f'"{word}": "', f"'{word}' => '"):
        assert redact(f"{text}jdoe") == f"{text}[user]"


@pytest.mark.parametrize("word", ["uid", "ruid", "euid"])
def test_it_knows_the_numbers_of_users(redact: Redactor, word: str) -> None:
    assert redact(f"{word}=51234") == f"{word}=[user]"


@pytest.mark.parametrize(
    "folder",
    [
        *("/nfshome0/", "/home/", "/Users/", "/eos/user/j/", "/eos/home-j/"),
        *(f"/afs/cern.ch/{area}/j/" for area in ("user", "work")),
    ],
)
def test_it_knows_the_folders_of_users(redact: Redactor, folder: str) -> None:
    assert redact(f"cp {folder}jdoe/x .") == f"cp {folder}[user]/x ."


KEYS = (
    *("AKIA" + "X7" * 8, "ASIA" + "X7" * 8, "AKIA".lower() + "x7" * 8),
    *(f"gl{kind}-" + "a1" * 10 for kind in ("pat", "rt", "dt", "ptt", "cbt", "soat")),
    *(f"gh{kind}_" + "a1" * 18 for kind in "pousr"),
    "github_pat_" + "a1" * 20,
    *(f"xox{kind}-" + "12" * 8 for kind in "abeoprs"),
    *("xapp-1-" + "A1" * 8, "npm_" + "a1" * 18, "hvs." + "a1" * 12, "dckr_pat_" + "a1" * 14),
)


def test_it_knows_keys_by_their_form(redact: Redactor) -> None:
    redacted = {key: redact(f"with {key}, and {key}") for key in KEYS}
    assert redacted == dict.fromkeys(KEYS, "with [secret], and [secret]")


@pytest.mark.parametrize(
    "address",
    [
        "https://mattermost.example.org/hooks/",
        "https://hooks.slack.com/services/",
        "https://discord.com/api/webhooks/",
        "https:\\/\\/x.webhook.office.com\\/webhookb2\\/",
    ],
)
def test_it_replaces_the_id_of_a_web_hook(redact: Redactor, address: str) -> None:
    assert redact(f"POST {address}a1b2c3d4e5f6g7h8i9 failed") == f"POST {address}[secret] failed"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "_shibsession_64656661756c74",
            "mod_auth_openidc_session",
            "PHPSESSID",
            "JSESSIONID",
            "connect.sid",
        ),
        *("_gitlab_session", "grafana_session", "sessionid", "csrftoken"),
    ],
)
def test_it_knows_session_cookies_by_their_names(redact: Redactor, name: str) -> None:
    assert redact(f"{name}=a1b2c3; path=/") == f"{name}=[secret]; path=/"


@pytest.mark.parametrize("levels", range(1, 5))
def test_it_sees_values_in_json_within_json(redact: Redactor, levels: int) -> None:
    text = {"message": 'a "quoted" word', "password": 'hun"ter 2', "user": "dqm pro"}
    expected = {"message": 'a "quoted" word', "password": "[secret]", "user": "[user]"}
    written, wanted = json.dumps(text), json.dumps(expected)
    for _ in range(levels):
        written, wanted = json.dumps({"log": written}), json.dumps({"log": wanted})
    assert redact(written) == wanted


BLOCK = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEowIBAAKCAQEA\nc3Rvcnk=\n"
END = "-----END RSA PRIVATE KEY-----"
LINE = "A" * 64


KEY_BLOCKS = {
    f"before\n{BLOCK}{END}\nafter": "before\n[key]\nafter",
    f"a {BLOCK}{END} b {BLOCK}{END} c": "a [key] b [key] c",
    f"before\n{BLOCK}and all that follows": "before\n[key]",
    quote_plus(f"x {BLOCK}{END} y"): "x+[key]+y",
    json.dumps({"pem": BLOCK + END}): '{"pem": "[key]"}',
    f"private_key: '{BLOCK}{END}'": "private_key: '[key]'",
    f"{LINE[:10]}\n{LINE}\nQUJD\n{END}\nafter": "[key]\nafter",
    f"Run: 358788 Lumi: 3\n{LINE}\n{LINE}\nQUJD\n{END}\n": "Run: 358788 Lumi: 3\n[key]\n",
    f"before\r\n{BLOCK}{END}\r\nafter".replace("\n", "\r\n"): "before\n[key]\nafter",
    f"x {LINE}\\n{LINE}\\nQUJD\\n{END}\\n": "x [key]\\n",
}


def test_it_replaces_key_blocks(redact: Redactor) -> None:
    assert {text: redact(text) for text in KEY_BLOCKS} == KEY_BLOCKS


SPELLINGS = {
    "fu%2Dc2f11%2D11%2D01 at 10%2E176%2E60%2E12": "[host] at [ip]",
    "password%3Dhunter2 user%3Dbob": "password%3D[secret] user%3D[user]",
    "https%3A%2F%2Fjdoe%3Apw%40x.org%2F": "https%3A%2F%2F[user]%3A[secret]%40x.org%2F",
    "fu%252Dc2f11%252D11%252D01": "[host]",
    "\\u0066u\\u002dc2f11-11-01 \\x31\\x30.0.0.1": "[host] [ip]",
    "ｆｕ－ｃ２ｆ１１－１１－０１": "[host]",
    "10.١٧٦.60.12 and １０．１．２．３": "[ip] and [ip]",
    "fu-с2f11-11-01.сms": "[host]",  # with Cyrillic с
    "fu‑c2f11–11—01": "[host]",
    "p\u00e1ssword: “hun ter”, done": "p\u00e1ssword: “[secret]”, done",
    "fu-\x00c2f11\x07-11-01": "[host]",
    "fu-c2f\u200b11-11\u00ad-01": "[host]",
    "pass\ufe0fword=hunter2": "password=[secret]",
    'password="cut off\u2028of the next line': 'password="[secret]\u2028of the next line',
    "\\u000710.176.60.12\\ud800AKIAIOSFODNN7EXAMPLE": "\\u0007[ip]\\ud800[secret]",
    "password=&quot;hun ter&quot; user=&#39;jdoe&#39;": "password=&quot;[secret]&quot; user=&#39;[user]&#39;",
    "&lt;password&gt;hunter2&lt;/password&gt;": "&lt;password&gt;[secret]&lt;/password&gt;",
    "pa\u0301ssword=hunter2 1\u03360.1.2.3": "pa\u0301ssword=[secret] [ip]",
    "pass\u2800word=hunter2": "password=[secret]",
    "password\\u001b[0m: hunter2": "password\\u001b[0m: [secret]",
}


def test_it_sees_through_spellings(redact: Redactor) -> None:
    assert {text: redact(text) for text in SPELLINGS} == SPELLINGS


def test_it_drops_control_characters_but_tab_and_newline(redact: Redactor) -> None:
    assert redact("a\tb\r\nc\x00\x1b[1;31md\x1b[0m\x7f\x9b") == "a\tb\ncd"


TERMINAL_SEQUENCES = (
    *("\x1b[31m", "\x1b[38;5;196m", "\x1b[?25l", "\x1b[2K", "\x9b0m"),
    *("\x1b]0;jdoe@lxplus801\x07", "\x1b]8;;http://x/\x1b\\", "\x9d0;t\x9c", "\x1bP1$r0m\x1b\\"),
    *("\x1b(B", "\x1b)0", "\x1b#8", "\x1b%G", "\x1b=", "\x1b7"),
)


def test_it_drops_terminal_sequences(redact: Redactor) -> None:
    redacted = {
        sequence: redact(f"pass{sequence}word{sequence}: hunter2{sequence} ok")
        for sequence in TERMINAL_SEQUENCES
    }
    assert redacted == dict.fromkeys(TERMINAL_SEQUENCES, "password: [secret] ok")


def test_it_replaces_lone_surrogates(redact: Redactor) -> None:
    assert redact("caf\u00e9 \ud83d \U0001f600") == "caf\u00e9 \ufffd \U0001f600"


def test_it_keeps_lines(redact: Redactor) -> None:
    text = "\n".join(["", "password=a", "", "fu-c2f11-11-01", "user@x.org", ""])
    assert redact(text) == "\n".join(["", "password=[secret]", "", "[host]", "[email]", ""])


def test_it_counts_what_it_replaces(redact: Redactor) -> None:
    assert redact.redact("dqmpro@fu-c2f11-11-01 password=x") == RedactedText(
        "[user]@[host] password=[secret]", 3
    )
    assert redact.redact("[user]@[host] password=[secret]").redactions == 0


def test_it_leaves_the_public_sites_of_the_configuration() -> None:
    redact = Redactor(allowed_hosts=("dqm-gui.cern.ch",))
    assert redact("dqm-gui.cern.ch cmsweb.cern.ch") == "dqm-gui.cern.ch [host]"


def test_it_knows_machines_without_a_configuration() -> None:
    assert Redactor()("gateway7 and dqmfu-c2b03-45-01") == "gateway7 and [host]"


# Names of persons with words that name groups as well.
PERSONS = (
    *("Ion Popescu", "Peter Beam", "Jean Free", "Bob Shift", "Tom Hardware", "Joe Council", "Jack Data"),
    *("Ann Core", "Carl Control", "Kim Station", "Ben Online", "Anna Ion Popescu"),
)


@pytest.mark.parametrize("person", PERSONS)
@pytest.mark.parametrize("line", ["approved by {}", "Requested by: {}", "Last modified by: {}, x"])
def test_it_replaces_persons_named_like_groups(redact: Redactor, line: str, person: str) -> None:
    assert redact(line.format(person)) == line.format("[user]")


# Accounts that are ordinary words or begin like programs do.
ACCOUNTS_LIKE_WORDS = (
    *("green", "julia", "lemon", "page", "book", "ring", "hook", "swift", "conforti", "grider", "libby"),
    *("pyle", "pybus", "rootham", "deventer", "herwig", "koji", "rudolfs"),
)


@pytest.mark.parametrize("account", ACCOUNTS_LIKE_WORDS)
def test_it_replaces_accounts_like_words_in_shared_folders(redact: Redactor, account: str) -> None:
    for line in ("/tmp/{}/x.root", "cp /build/{}/CMSSW_12_4_8/x /x", '"/scratch/{}/x"'):
        assert redact(line.format(account)) == line.format("[user]")


@pytest.mark.parametrize("account", ["page", "stack", "view", "device", "will"])
@pytest.mark.parametrize(
    "line",
    [
        "kinit {}",
        "chown {} /x",
        "sudo: {} : TTY=pts/0 ; PWD=/x",
        "Invalid user {} from 10.1.2.3",
        "session closed for user {}",
        "running as user {}",
    ],
)
def test_it_replaces_accounts_like_words_in_messages(redact: Redactor, line: str, account: str) -> None:
    assert redact(line.format(account)) == line.replace("10.1.2.3", "[ip]").format("[user]")


def test_it_replaces_users_of_options_that_end_in_user(redact: Redactor) -> None:
    for option in ("--db-user", "--backend-user", "-user"):
        assert redact(f"x {option} jdoe") == f"x {option} [user]"
