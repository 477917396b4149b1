/* SPDX-License-Identifier: MIT */
/* The lists behind the synthetic events' names, and the filling in of their patterns. */
#include "names.h"

#include <inttypes.h>

#define COUNT(list) ((uint32_t)(sizeof(list) / sizeof((list)[0])))

static const struct cbt_program windows_programs[] = {
    {"c:\\windows\\system32\\svchost.exe", "C:\\Windows\\system32\\svchost.exe -k netsvcs -p -s {word}",
     false},
    {"c:\\windows\\system32\\services.exe", "C:\\Windows\\system32\\services.exe", false},
    {"c:\\windows\\system32\\lsass.exe", "C:\\Windows\\system32\\lsass.exe", false},
    {"c:\\windows\\system32\\wbem\\wmiprvse.exe",
     "C:\\Windows\\system32\\wbem\\wmiprvse.exe -secured -Embedding", false},
    {"c:\\windows\\system32\\searchindexer.exe", "C:\\Windows\\system32\\SearchIndexer.exe /Embedding",
     false},
    {"c:\\windows\\system32\\msiexec.exe",
     "C:\\Windows\\system32\\msiexec.exe /i \"C:\\Users\\{user}\\Downloads\\{word}.msi\" /qn", false},
    {"c:\\programdata\\microsoft\\windows defender\\platform\\4.18.2211.5-0\\msmpeng.exe",
     "\"C:\\ProgramData\\Microsoft\\Windows Defender\\Platform\\4.18.2211.5-0\\MsMpEng.exe\"", false},
    {"c:\\program files (x86)\\google\\update\\googleupdate.exe",
     "\"C:\\Program Files (x86)\\Google\\Update\\GoogleUpdate.exe\" /ua /installsource scheduler", false},
    {"c:\\windows\\explorer.exe", "C:\\Windows\\Explorer.EXE", true},
    {"c:\\program files\\google\\chrome\\application\\chrome.exe",
     "\"C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe\" --type=renderer "
     "--field-trial-handle={num},{hex} --lang=en-GB",
     true},
    {"c:\\program files\\microsoft office\\root\\office16\\outlook.exe",
     "\"C:\\Program Files\\Microsoft Office\\Root\\Office16\\OUTLOOK.EXE\"", true},
    {"c:\\program files\\microsoft office\\root\\office16\\winword.exe",
     "\"C:\\Program Files\\Microsoft Office\\Root\\Office16\\WINWORD.EXE\" /n "
     "\"C:\\Users\\{user}\\Documents\\{word} {num}.docx\" /o \"\"",
     true},
    {"c:\\windows\\system32\\windowspowershell\\v1.0\\powershell.exe",
     "powershell.exe -NoProfile -ExecutionPolicy Bypass -Command \"& {Get-ChildItem 'C:\\Users\\{user}' | "
     "Out-File {word}.txt}\"",
     true},
    {"c:\\windows\\system32\\cmd.exe", "cmd.exe /c \"\"C:\\scripts\\{word}.bat\" {num}\"", true},
    {"c:\\windows\\system32\\conhost.exe", "\\??\\C:\\Windows\\system32\\conhost.exe 0xffffffff -ForceV1",
     true},
    {"c:\\users\\{user}\\appdata\\local\\microsoft\\teams\\current\\teams.exe",
     "\"C:\\Users\\{user}\\AppData\\Local\\Microsoft\\Teams\\current\\Teams.exe\" --type=gpu-process", true},
};

static const struct cbt_program linux_programs[] = {
    {"/usr/sbin/sshd", "sshd: {user} [priv]", false},
    {"/usr/lib/systemd/systemd", "/usr/lib/systemd/systemd --switched-root --system --deserialize 31", false},
    {"/usr/sbin/crond", "/usr/sbin/crond -n", false},
    {"/usr/bin/bash", "bash -c \"cd /home/{user}/{word} && ./run.sh {num}\"", true},
    {"/usr/bin/python3.9", "python3 /opt/{word}/bin/agent.py --interval {num}", true},
    {"/usr/lib/jvm/java-11-openjdk/bin/java",
     "java -Xmx2048m -jar /opt/{word}/lib/{word}.jar --server.port=8443", true},
    {"/usr/bin/curl", "curl -sS -H 'Accept: application/json' https://{site}/v1/{word}", true},
    {"/usr/sbin/nginx", "nginx: worker process", false},
};

static const char *const windows_modules[] = {
    "c:\\windows\\system32\\ntdll.dll",
    "c:\\windows\\system32\\kernelbase.dll",
    "c:\\windows\\system32\\msvcp_win.dll",
    "c:\\windows\\system32\\bcryptprimitives.dll",
    "c:\\windows\\system32\\combase.dll",
    "c:\\windows\\system32\\windows.storage.dll",
    "c:\\windows\\system32\\en-us\\{word}.dll.mui",
    "c:\\windows\\syswow64\\urlmon.dll",
    "c:\\windows\\winsxs\\amd64_microsoft.windows.gdiplus_6595b64144ccf1df_1.1.19041_none\\gdiplus.dll",
    "c:\\windows\\assembly\\nativeimages_v4.0.30319_64\\system.core\\{guid}\\system.core.ni.dll",
    "c:\\program files\\common files\\microsoft shared\\clicktorun\\{word}.dll",
    "c:\\program files\\google\\chrome\\application\\109.0.5414.120\\chrome_elf.dll",
    "c:\\users\\{user}\\appdata\\local\\microsoft\\onedrive\\22.253.1204.0001\\{word}.dll",
};

static const char *const linux_modules[] = {
    "/usr/lib64/ld-2.28.so",
    "/usr/lib64/libc-2.28.so",
    "/usr/lib64/libpthread-2.28.so",
    "/usr/lib64/libcrypto.so.1.1.1k",
    "/usr/lib64/libsystemd.so.0.23.0",
    "/usr/lib64/python3.9/lib-dynload/_{word}.cpython-39-x86_64-linux-gnu.so",
    "/usr/lib/jvm/java-11-openjdk/lib/server/libjvm.so",
    "/opt/{word}/lib/lib{word}.so.{num}",
};

static const char *const windows_files[] = {
    "c:\\users\\{user}\\appdata\\local\\temp\\{hex}.tmp",
    "c:\\users\\{user}\\appdata\\local\\google\\chrome\\user data\\default\\cache\\cache_data\\f_{hex}",
    "c:\\users\\{user}\\appdata\\local\\google\\chrome\\user data\\default\\code cache\\js\\{hex}{hex}_0",
    "c:\\users\\{user}\\appdata\\roaming\\microsoft\\windows\\recent\\{word} {num}.lnk",
    "c:\\users\\{user}\\documents\\{word}\\{word} {num}.xlsx",
    "c:\\windows\\prefetch\\{word}.exe-{hex}.pf",
    "c:\\windows\\temp\\{guid}\\{word}.cab",
    "c:\\windows\\system32\\logfiles\\scm\\{guid}",
    "c:\\windows\\softwaredistribution\\download\\{hex}{hex}{hex}{hex}\\{word}.psf",
    "c:\\programdata\\microsoft\\search\\data\\applications\\windows\\gatherlogs\\{num}.gthr",
    "c:\\programdata\\{word}\\logs\\{word}-{num}.log",
    "c:\\$recycle.bin\\{sid}\\$r{hex}.docx",
};

static const char *const linux_files[] = {
    "/var/log/{word}/{word}.log.{num}",
    "/tmp/.{word}-{hex}",
    "/home/{user}/.cache/mozilla/firefox/{hex}.default/cache2/entries/{hex}{hex}{hex}{hex}",
    "/var/lib/docker/overlay2/{hex}{hex}{hex}{hex}/diff/usr/share/{word}/{word}.conf",
    "/var/lib/rpm/__db.{num}",
    "/run/systemd/units/invocation:{word}.service",
};

static const char *const keys[] = {
    "\\registry\\machine\\software\\microsoft\\windows\\currentversion\\run\\{word}",
    "\\registry\\machine\\software\\microsoft\\windows nt\\currentversion\\appcompatflags\\layers\\{word}",
    "\\registry\\machine\\system\\controlset001\\services\\bam\\state\\usersettings\\{sid}\\{word}",
    "\\registry\\machine\\system\\controlset001\\services\\tcpip\\parameters\\interfaces\\{{guid}}\\lease",
    "\\registry\\user\\{sid}\\software\\microsoft\\windows\\currentversion\\explorer\\recentdocs\\.docx\\{"
    "num}",
    "\\registry\\user\\{sid}\\software\\microsoft\\windows\\currentversion\\explorer\\userassist\\{{guid}}"
    "\\count\\{word}",
    "\\registry\\user\\{sid}\\software\\microsoft\\office\\16.0\\outlook\\profiles\\outlook\\{hex}{hex}{hex}{"
    "hex}\\{hex}",
    "\\registry\\user\\{sid}_classes\\local "
    "settings\\software\\microsoft\\windows\\shell\\bagmru\\{num}\\nodeslot",
};

static const char *const domains[] = {
    "outlook.office365.com",
    "www.google.com",
    "{word}.blob.core.windows.net",
    "login.microsoftonline.com",
    "ctldl.windowsupdate.com",
    "{site}",
    "cdn.{site}",
    "api.{site}",
    "{word}.s3.eu-central-1.amazonaws.com",
    "fs{num}.corp.example.net",
    "dc01.corp.example.net",
    "",
};

static const char *const sites[] = {
    "news.example.com",      "intranet.example.net", "mirror.example.org",
    "telemetry.example.com", "bücher.example",
};

/* Two of them not in ASCII, as some are on every large fleet. */
static const char *const users[CBT_NAMES_USERS] = {
    "alice",    "bschmidt",    "carol.jones", "dmueller", "e.garcia", "frank",   "gwhite",
    "h.tanaka", "ivan.petrov", "jdoe",        "k.novak",  "lmartin",  "m.rossi", "nkhan",
    "o.silva",  "p.wong",      "qli",         "rsmith",   "jürgen",   "王伟",
};

static const char *const words[] = {
    "account",  "backup",  "cache",    "client",  "config",  "contract", "crypto",   "display",
    "draft",    "engine",  "export",   "finance", "gateway", "helper",   "index",    "invoice",
    "journal",  "license", "manager",  "metrics", "network", "offer",    "packages", "planner",
    "policies", "profile", "project",  "protect", "quarter", "receipt",  "report",   "runtime",
    "schedule", "session", "settings", "storage", "summary", "support",  "travel",   "update",
};

const struct cbt_program *cbt_names_program(struct cbt_random *random, enum cbt_os os)
{
    if (os == CBT_OS_LINUX)
        return &linux_programs[cbt_random_below(random, COUNT(linux_programs))];
    return &windows_programs[cbt_random_below(random, COUNT(windows_programs))];
}

const char *cbt_names_module(struct cbt_random *random, enum cbt_os os)
{
    if (os == CBT_OS_LINUX)
        return linux_modules[cbt_random_below(random, COUNT(linux_modules))];
    return windows_modules[cbt_random_below(random, COUNT(windows_modules))];
}

const char *cbt_names_file(struct cbt_random *random, enum cbt_os os)
{
    if (os == CBT_OS_LINUX)
        return linux_files[cbt_random_below(random, COUNT(linux_files))];
    return windows_files[cbt_random_below(random, COUNT(windows_files))];
}

const char *cbt_names_key(struct cbt_random *random)
{
    return keys[cbt_random_below(random, COUNT(keys))];
}

const char *cbt_names_domain(struct cbt_random *random)
{
    return domains[cbt_random_below(random, COUNT(domains))];
}

static void put_text(struct cbt_bytes *out, const char *text)
{
    cbt_bytes_put(out, text, strlen(text));
}

static void put_token(struct cbt_random *random, const char *token, size_t len, uint32_t user,
                      struct cbt_bytes *out)
{
    char text[64];
    const uint64_t number = cbt_random_next(random);
#define IS(name) (len == sizeof(name) - 1 && !memcmp(token, name, len))
    if (IS("user"))
        put_text(out, users[user]);
    else if (IS("word"))
        put_text(out, words[number % COUNT(words)]);
    else if (IS("site"))
        put_text(out, sites[number % COUNT(sites)]);
    else {
        if (IS("hex"))
            snprintf(text, sizeof(text), "%08" PRIx32, (uint32_t)number);
        else if (IS("num"))
            snprintf(text, sizeof(text), "%u", (unsigned)(number % 9999));
        else if (IS("sid"))
            snprintf(text, sizeof(text), "s-1-5-21-2709706146-4189370754-997381202-%u", 1001 + user);
        else
            snprintf(text, sizeof(text), "%08x-%04x-4%03x-a%03x-%012" PRIx64, (unsigned)(number >> 32),
                     (unsigned)(number >> 16 & 0xffff), (unsigned)(number >> 4 & 0xfff),
                     (unsigned)(number & 0xfff), cbt_random_next(random) & 0xffffffffffff);
        put_text(out, text);
    }
#undef IS
}

void cbt_names_fill(struct cbt_random *random, const char *pattern, uint32_t user, struct cbt_bytes *out)
{
    while (*pattern) {
        const char *open = strchr(pattern, '{');
        const char *close = open ? open + 1 + strspn(open + 1, "abcdefghijklmnopqrstuvwxyz") : NULL;
        if (!open) {
            put_text(out, pattern);
            return;
        }
        cbt_bytes_put(out, pattern, (size_t)(open - pattern));
        if (*close == '}' && close > open + 1) {
            put_token(random, open + 1, (size_t)(close - open - 1), user, out);
            pattern = close + 1;
        } else {
            cbt_bytes_put(out, "{", 1); /* a brace of the text's own */
            pattern = open + 1;
        }
    }
}
