// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Everything the Windows config drive script decides. ConfigDrive.ps1 loads this with Add-Type and does what it says.
// C# 5, mscorlib and System only: that is what the compiler behind Windows PowerShell 5.1's Add-Type takes without more.

using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Runtime.InteropServices;
using System.Security;
using System.Security.AccessControl;
using System.Security.Cryptography;
using System.Security.Principal;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.Win32.SafeHandles;

namespace Vmops.ConfigDrive
{
    /// <summary>Something to tell the administrator. Never holds a value from the drive.</summary>
    public class ConfigDriveException : Exception
    {
        public ConfigDriveException(string message) : base(message) { }
    }

    /// <summary>The settings file: lines "name=value"; "#" begins a comment line.</summary>
    public class Settings
    {
        public string Label = "config";
        public bool SetPassword = true;
        public string PasswordUser = "Administrator";
        public bool SetSshKeys = true;
        public string[] SshKeyUsers = new string[0];
        public bool SaveUserData = true;
        public int WaitSeconds = 5;

        public static Settings Parse(string text)
        {
            Settings settings = new Settings();
            foreach (string raw in text.Split('\n'))
            {
                string line = raw.Trim();
                if (line.Length == 0 || line[0] == '#')
                {
                    continue;
                }
                int at = line.IndexOf('=');
                string name = at < 0 ? line : line.Substring(0, at).Trim();
                string value = at < 0 ? "" : line.Substring(at + 1).Trim();
                switch (name)
                {
                    case "Label": settings.Label = NotEmpty(name, value); break;
                    case "SetPassword": settings.SetPassword = YesOrNo(name, value); break;
                    case "PasswordUser": settings.PasswordUser = NotEmpty(name, value); break;
                    case "SetSshKeys": settings.SetSshKeys = YesOrNo(name, value); break;
                    case "SshKeyUsers": settings.SshKeyUsers = Names(value); break;
                    case "SaveUserData": settings.SaveUserData = YesOrNo(name, value); break;
                    case "WaitSeconds": settings.WaitSeconds = Seconds(name, value); break;
                    default: throw new ConfigDriveException("settings: there is no setting \"" + name + "\"");
                }
            }
            return settings;
        }

        private static string NotEmpty(string name, string value)
        {
            if (value.Length == 0)
            {
                throw new ConfigDriveException("settings: " + name + " is empty");
            }
            return value;
        }

        private static string[] Names(string value)
        {
            List<string> names = new List<string>();
            foreach (string name in value.Split(','))
            {
                if (name.Trim().Length > 0)
                {
                    names.Add(name.Trim());
                }
            }
            return names.ToArray();
        }

        private static bool YesOrNo(string name, string value)
        {
            if (value == "yes" || value == "no")
            {
                return value == "yes";
            }
            throw new ConfigDriveException("settings: " + name + " must be yes or no");
        }

        private static int Seconds(string name, string value)
        {
            int seconds;
            if (!int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out seconds) || seconds > 600)
            {
                throw new ConfigDriveException("settings: " + name + " must be a number of seconds, at most 600");
            }
            return seconds;
        }
    }

    /// <summary>A volume with a file system: its root folder and label.</summary>
    public class Volume
    {
        public readonly string Root;
        public readonly string Label;

        public Volume(string root, string label)
        {
            Root = root;
            Label = label;
        }

        /// <summary>All volumes that can be read now: every CD drive with a medium, and disks.</summary>
        public static Volume[] Ready()
        {
            List<Volume> found = new List<Volume>();
            foreach (DriveInfo drive in DriveInfo.GetDrives())
            {
                try
                {
                    if (drive.IsReady && drive.DriveType != DriveType.Network)
                    {
                        found.Add(new Volume(drive.RootDirectory.FullName, drive.VolumeLabel));
                    }
                }
                catch (IOException)
                {
                    // The medium went away between the two questions.
                }
                catch (UnauthorizedAccessException)
                {
                    // A locked volume is none of ours.
                }
            }
            return found.ToArray();
        }
    }

    /// <summary>A config drive: items by name, bounded in size.</summary>
    public class Drive
    {
        public const int PasswordMax = 1024;
        public const int TextMax = 65536;
        public const int UserDataMax = 67108864;

        public readonly string Root;

        public Drive(string root)
        {
            Root = root;
        }

        /// <summary>The config drive among the volumes, or null. The configured label comes first, then the two in common use; a
        /// volume that only has the name and none of the folders is somebody else's.</summary>
        public static Drive Find(Volume[] volumes, string label)
        {
            foreach (string wanted in new string[] { label, "config", "config-2" })
            {
                foreach (Volume volume in volumes)
                {
                    if (string.Equals(volume.Label, wanted, StringComparison.OrdinalIgnoreCase)
                        && (Directory.Exists(Path.Combine(volume.Root, "cloudstack"))
                            || Directory.Exists(Path.Combine(volume.Root, "openstack"))))
                    {
                        return new Drive(volume.Root);
                    }
                }
            }
            return null;
        }

        /// <summary>The password file's bytes, or null if the drive has none.</summary>
        public byte[] Password()
        {
            return Read("password", PasswordMax, "cloudstack/password/vm_password.txt", "cloudstack/password/vm-password.txt");
        }

        public byte[] UserData()
        {
            return Read("user data", UserDataMax, "cloudstack/userdata/user_data.txt", "cloudstack/userdata/user-data.txt",
                "openstack/latest/user_data");
        }

        /// <summary>A metadata item, under either spelling of its name.</summary>
        public byte[] Metadata(string name)
        {
            foreach (char c in name)
            {
                if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '-' && c != '_')
                {
                    throw new ConfigDriveException("this is not the name of a metadata item");
                }
            }
            return Read(name, TextMax, "cloudstack/metadata/" + name.Replace('_', '-') + ".txt",
                "cloudstack/metadata/" + name.Replace('-', '_') + ".txt");
        }

        private byte[] Read(string what, int max, params string[] paths)
        {
            foreach (string path in paths)
            {
                string full = Path.Combine(Root, path.Replace('/', Path.DirectorySeparatorChar));
                if (!File.Exists(full) || (File.GetAttributes(full) & FileAttributes.ReparsePoint) != 0)
                {
                    continue;
                }
                using (FileStream file = new FileStream(full, FileMode.Open, FileAccess.Read, FileShare.Read))
                using (MemoryStream read = new MemoryStream())
                {
                    byte[] buffer = new byte[4096];
                    int count;
                    while ((count = file.Read(buffer, 0, buffer.Length)) > 0)
                    {
                        read.Write(buffer, 0, count);
                        if (read.Length > max)
                        {
                            throw new ConfigDriveException("the " + what + " on the config drive is larger than "
                                + max.ToString(CultureInfo.InvariantCulture) + " bytes and was not read");
                        }
                    }
                    return read.ToArray();
                }
            }
            return null;
        }
    }

    /// <summary>The line that says from outside which drive was read and whether all on it could be set, as config-drive-boot.sh
    /// writes it.</summary>
    public static class Confirmation
    {
        // The volume descriptor of ISO 9660 is sector 16; what built the drive is named in its application use field (8.4.32).
        private const int SectorSize = 2048;
        private const int DescriptorAt = 16 * SectorSize;
        private const int ApplicationUseAt = 883;
        private const int ApplicationUseSize = 512;
        private static readonly Regex Builder = new Regex(@"\AVMOPS\.EXTERNAL_DHCP FORMAT=\d+ VM=\S* SHA256=([0-9a-f]{64}) ");
        private static readonly Regex Id = new Regex(@"\A[A-Za-z0-9._:-]{1,128}\r?\n?\z");

        /// <summary>instance: the item's bytes, or null. digest: of the drive whose password was set; null or empty if there is none.</summary>
        public static string Line(bool failed, byte[] instance, string digest)
        {
            string id = instance == null ? "" : Encoding.ASCII.GetString(instance);
            return (failed ? "1 " : "0 ") + (Id.IsMatch(id) ? id.Trim() : "-") + " " + (string.IsNullOrEmpty(digest) ? "-" : digest);
        }

        /// <summary>The digest that this collection wrote on the volume with this root, such as "D:\"; null if others built the drive,
        /// or its sectors cannot be read.</summary>
        public static string DigestOf(string root)
        {
            // FileStream takes no name of a device, but it takes the handle of one.
            using (SafeFileHandle handle = CreateFile(@"\\.\" + root.TrimEnd('\\'), 0x80000000 /* read */, 3 /* share */, IntPtr.Zero,
                3 /* existing */, 0, IntPtr.Zero))
            {
                if (handle.IsInvalid)
                {
                    return null;
                }
                using (FileStream volume = new FileStream(handle, FileAccess.Read, SectorSize))
                {
                    return DigestOf(volume);
                }
            }
        }

        public static string DigestOf(Stream volume)
        {
            byte[] sector = new byte[SectorSize];
            volume.Seek(DescriptorAt, SeekOrigin.Begin);
            // A device is read in whole sectors.
            if (volume.Read(sector, 0, SectorSize) != SectorSize)
            {
                return null;
            }
            Match builder = Builder.Match(Encoding.ASCII.GetString(sector, ApplicationUseAt, ApplicationUseSize));
            return builder.Success ? builder.Groups[1].Value : null;
        }

        [DllImport("kernel32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
        private static extern SafeFileHandle CreateFile(string name, uint access, uint share, IntPtr security, uint creation, uint flags,
            IntPtr template);
    }

    /// <summary>What to do about the password.</summary>
    public class PasswordDecision
    {
        /// <summary>The password to set, or null if there is nothing new.</summary>
        public readonly SecureString Password;
        /// <summary>What to remember once it is set.</summary>
        public readonly string NewState;

        private PasswordDecision(SecureString password, string newState)
        {
            Password = password;
            NewState = newState;
        }

        private static readonly PasswordDecision Nothing = new PasswordDecision(null, null);

        /// <summary>content: the file's bytes, or null. state: what was remembered, or null. A value that cannot be a password is an
        /// error before anything is changed.</summary>
        public static PasswordDecision Make(byte[] content, string state, string user)
        {
            if (content == null)
            {
                return Nothing;
            }
            string text;
            try
            {
                text = new UTF8Encoding(false, true).GetString(content).TrimEnd('\r', '\n');
            }
            catch (ArgumentException)
            {
                throw new ConfigDriveException("the password on the config drive is not UTF-8: not set");
            }
            // Not passwords: what CloudStack's servers answer for "nothing new" and "not understood".
            if (text.Length == 0 || text == "saved_password" || text == "bad_request")
            {
                return Nothing;
            }
            if (text.IndexOfAny(new char[] { '\r', '\n' }) >= 0)
            {
                throw new ConfigDriveException("the password on the config drive has more than one line: not set");
            }
            if (text.IndexOf('\0') >= 0)
            {
                throw new ConfigDriveException("the password on the config drive holds NUL bytes: not set");
            }
            if (PasswordState.Matches(state, user, text))
            {
                return Nothing;
            }
            SecureString password = new SecureString();
            foreach (char c in text)
            {
                password.AppendChar(c);
            }
            password.MakeReadOnly();
            return new PasswordDecision(password, PasswordState.New(user, text));
        }
    }

    /// <summary>The memory of the last password set: a salted, slow digest (PBKDF2), never the value.
    /// One line: "pbkdf2 iterations salt digest".</summary>
    internal static class PasswordState
    {
        private const int Iterations = 100000;
        private const int Size = 32;

        internal static string New(string user, string password)
        {
            byte[] salt = new byte[Size];
            using (RNGCryptoServiceProvider random = new RNGCryptoServiceProvider())
            {
                random.GetBytes(salt);
            }
            return "pbkdf2 " + Iterations.ToString(CultureInfo.InvariantCulture) + " " + Convert.ToBase64String(salt) + " "
                + Convert.ToBase64String(Digest(user, password, salt, Iterations));
        }

        internal static bool Matches(string state, string user, string password)
        {
            string[] parts = (state ?? "").Trim().Split(' ');
            int iterations;
            if (parts.Length != 4 || parts[0] != "pbkdf2"
                || !int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out iterations)
                || iterations < 1 || iterations > 10 * Iterations)
            {
                return false;
            }
            byte[] salt, digest;
            try
            {
                salt = Convert.FromBase64String(parts[2]);
                digest = Convert.FromBase64String(parts[3]);
            }
            catch (FormatException)
            {
                return false;
            }
            if (salt.Length < 8 || digest.Length != Size)
            {
                return false;
            }
            byte[] now = Digest(user, password, salt, iterations);
            int difference = 0;
            for (int i = 0; i < Size; i++)
            {
                difference |= now[i] ^ digest[i];
            }
            return difference == 0;
        }

        private static byte[] Digest(string user, string password, byte[] salt, int iterations)
        {
            using (Rfc2898DeriveBytes derive = new Rfc2898DeriveBytes(user + ":" + password, salt, iterations))
            {
                return derive.GetBytes(Size);
            }
        }
    }

    /// <summary>A file of SSH keys with the drive's in a block of its own; every other line stays as it is.</summary>
    public class KeysDecision
    {
        public const string BeginMark = "# BEGIN keys from the config drive (replaced when it changes, put your own keys elsewhere)";
        public const string EndMark = "# END keys from the config drive";

        // The base64 text of a key begins with the length and the name of its type (RFC 4253 6.6).
        private static readonly Dictionary<string, string> Heads = new Dictionary<string, string>
        {
            { "ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5" },
            { "ssh-rsa", "AAAAB3NzaC1y" },
            { "ecdsa-sha2-nistp256", "AAAAE2VjZHNhLXNoYTItbmlzdHAy" },
            { "ecdsa-sha2-nistp384", "AAAAE2VjZHNhLXNoYTItbmlzdHAz" },
            { "ecdsa-sha2-nistp521", "AAAAE2VjZHNhLXNoYTItbmlzdHA1" },
            { "sk-ssh-ed25519@openssh.com", "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t" },
            { "sk-ecdsa-sha2-nistp256@openssh.com", "AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5j" },
        };
        // Every byte is a character and back again: what others wrote is kept whatever its encoding.
        private static readonly Encoding Bytes = Encoding.GetEncoding(28591);

        /// <summary>The file's new bytes, or null if nothing is to be changed.</summary>
        public readonly byte[] Content;
        /// <summary>Lines of the drive's key file that are plain keys, and those that are not and were left out.</summary>
        public readonly int Taken;
        public readonly int LeftOut;

        private KeysDecision(byte[] content, int taken, int leftOut)
        {
            Content = content;
            Taken = taken;
            LeftOut = leftOut;
        }

        /// <summary>drive: the drive's key file, or null; an empty one empties the block. present: the file as it is, or null.</summary>
        public static KeysDecision Make(byte[] drive, byte[] present)
        {
            if (drive == null)
            {
                return new KeysDecision(null, 0, 0);
            }
            List<string> keys = new List<string>();
            int leftOut = 0;
            foreach (string raw in Bytes.GetString(drive).Split('\n'))
            {
                string line = raw.TrimEnd('\r').Replace('\t', ' ').Trim(' ');
                if (line.Length == 0 || line[0] == '#')
                {
                    continue;
                }
                if (IsKey(line))
                {
                    keys.Add(line);
                }
                else
                {
                    leftOut++;
                }
            }
            if (keys.Count == 0 && leftOut > 0)
            {
                throw new ConfigDriveException("no line in the config drive's key file is a plain SSH key: not set");
            }
            string before = present == null ? "" : Bytes.GetString(present);
            string after = Foreign(before);
            if (keys.Count > 0)
            {
                after += BeginMark + "\n" + string.Join("\n", keys.ToArray()) + "\n" + EndMark + "\n";
            }
            return new KeysDecision(after == before ? null : Bytes.GetBytes(after), keys.Count, leftOut);
        }

        /// <summary>A type, the base64 text of that very type, a comment. No options: they can run commands.</summary>
        private static bool IsKey(string line)
        {
            string[] parts = line.Split(new char[] { ' ' }, 3, StringSplitOptions.RemoveEmptyEntries);
            string head;
            if (line.Length > 8192 || parts.Length < 2 || !Heads.TryGetValue(parts[0], out head)
                || !parts[1].StartsWith(head, StringComparison.Ordinal) || parts[1].Length < 68)
            {
                return false;
            }
            foreach (char c in line)
            {
                if (char.IsControl(c))
                {
                    return false;
                }
            }
            try
            {
                return Convert.ToBase64String(Convert.FromBase64String(parts[1])) == parts[1];
            }
            catch (FormatException)
            {
                return false;
            }
        }

        /// <summary>All but our block, each line with its end. A begin without an end takes nothing with it but the mark.</summary>
        private static string Foreign(string text)
        {
            StringBuilder kept = new StringBuilder();
            List<string> held = new List<string>();
            bool inside = false;
            string[] lines = text.Split('\n');
            for (int i = 0; i < lines.Length; i++)
            {
                bool last = i == lines.Length - 1;
                if (last && lines[i].Length == 0)
                {
                    break;
                }
                string line = lines[i].TrimEnd('\r');
                if (line == BeginMark)
                {
                    kept.Append(string.Concat(held));
                    held.Clear();
                    inside = true;
                }
                else if (line == EndMark)
                {
                    held.Clear();
                    inside = false;
                }
                else if (inside)
                {
                    held.Add(lines[i] + "\n");
                }
                else
                {
                    kept.Append(lines[i] + "\n");
                }
            }
            return kept.Append(string.Concat(held)).ToString();
        }
    }

    /// <summary>Reads and writes files of SSH keys, also in folders of users.</summary>
    public static class KeyFile
    {
        /// <summary>The file's bytes, or null. A link is refused: SYSTEM would follow it to where the user may not go.</summary>
        public static byte[] Read(string path)
        {
            foreach (string place in new string[] { Path.GetDirectoryName(path), path })
            {
                if ((File.Exists(place) || Directory.Exists(place)) && (File.GetAttributes(place) & FileAttributes.ReparsePoint) != 0)
                {
                    throw new ConfigDriveException(place + " is a link: SSH keys not set");
                }
            }
            return File.Exists(path) ? File.ReadAllBytes(path) : null;
        }

        /// <summary>Full control for these accounts (security ids), and nothing for anybody else: sshd ignores keys that others could
        /// have written.</summary>
        public static FileSecurity Security(string[] sids)
        {
            FileSecurity security = new FileSecurity();
            security.SetAccessRuleProtection(true, false);
            foreach (string sid in sids)
            {
                security.AddAccessRule(new FileSystemAccessRule(new SecurityIdentifier(sid), FileSystemRights.FullControl,
                    AccessControlType.Allow));
            }
            return security;
        }

        /// <summary>Writes a file whole or not at all. It is made with its rights: they are given to nothing that was there before.</summary>
        public static void Write(string path, byte[] content, FileSecurity security)
        {
            string temporary = path + ".new";
            File.Delete(temporary);
            using (FileStream file = new FileStream(temporary, FileMode.CreateNew, FileSystemRights.Write, FileShare.None, 4096,
                FileOptions.None, security))
            {
                file.Write(content, 0, content.Length);
            }
            // Not File.Replace, which would keep the rights of the file that was there.
            File.Delete(path);
            File.Move(temporary, path);
        }
    }

    /// <summary>Files of the state folder.</summary>
    public static class StateFolder
    {
        /// <summary>The text of a state file, or null.</summary>
        public static string Read(string path)
        {
            return File.Exists(path) ? File.ReadAllText(path) : null;
        }

        /// <summary>Writes a file whole or not at all.</summary>
        public static void Write(string path, byte[] content)
        {
            string temporary = path + ".new";
            File.WriteAllBytes(temporary, content);
            if (File.Exists(path))
            {
                File.Replace(temporary, path, null);
            }
            else
            {
                File.Move(temporary, path);
            }
        }

        public static void Write(string path, string content)
        {
            Write(path, new UTF8Encoding(false).GetBytes(content));
        }
    }
}
